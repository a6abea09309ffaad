"""What a source is, said once: a value per source, and the table of them.

Whoever collects, compares, configures or shares features between processes looks a source up here and asks it. A
new source is one more value of `SOURCES`.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from torch import Tensor, nn

from paramgraph.checkpoints import ModelLike
from paramgraph.errors import UnknownNameError
from paramgraph.nodes import NodeTable, unwrap
from paramgraph.sources._activation_passes import activation_passes
from paramgraph.sources._attention_passes import attention_passes
from paramgraph.sources._failures import Failures, OnFailure
from paramgraph.sources._feature_file import file_for
from paramgraph.sources._gradient_passes import gradient_passes
from paramgraph.sources._output_gradient_passes import output_gradient_passes
from paramgraph.sources._passes import Batches, Loss
from paramgraph.sources.accumulators import Accumulator, MeanFeatures, SharedAccumulator, StreamingGram
from paramgraph.sources.parameter_updates import assembled, collect_updates

# (model, tables, batches, loss, sink), and by name `on_failure` and what `options` says.
Passes = Callable[..., Iterator[None]]
# What weights are read from is a model, or whatever gives a tensor by its parameter's name.
Weights = nn.Module | Mapping[str, Tensor]
# (model or weights, tuned, tables), and by name `on_failure`.
Read = Callable[..., dict[str, Tensor]]
OwnSource = Callable[[nn.Module, NodeTable, Batches | None], Tensor]
SourceLike = str | Callable[..., Tensor]
Kept = TypeVar("Kept", bound=Accumulator)


def _told(function: Callable[..., object], on_failure: OnFailure | None) -> dict[str, OnFailure]:
    # A source of a user's own need not know of failures; what fails in it is raised then.
    known = inspect.signature(function).parameters.values()
    takes = any(one.name == "on_failure" or one.kind is inspect.Parameter.VAR_KEYWORD for one in known)
    return {"on_failure": on_failure} if takes and on_failure is not None else {}


def _nothing(scheme: str) -> str:
    return ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """Where features of nodes come from, and what it takes to get them.

    They come in one of three ways: `passes` run the model and an `accumulator` for each table keeps what is needed of
    the pieces; `read` takes weights of checkpoints; `function` is a user's own, called once per table.
    """

    name: str
    short_names: tuple[str, ...] = ()
    # (model, tables, batches, loss, sink, on_failure): hand (group, piece (nodes, columns)) to the sink; yield after
    # each batch; tell on_failure of tables without features, or raise where it is None (`Failures` does both).
    passes: Passes | None = None
    accumulator: Callable[[int], SharedAccumulator] | None = None  # of a number of nodes
    # The accumulator also takes a file, in which it keeps what all tables together have no room for.
    takes_file: bool = False
    read: Read | None = None  # (model or weights, tuned, tables, on_failure)
    function: OwnSource | None = None  # (model, table, batches)
    needs_loss: bool = False  # the passes differentiate a loss
    needs_tuned: bool = False  # `read` compares with a second checkpoint
    is_signal: bool = False  # `compare` may measure it on graphs
    options: tuple[str, ...] = ()  # what else `passes` takes, by name, each with a default
    # Why there are no features of the nodes of a scheme; "" where there are.
    refuses: Callable[[str], str] = field(default=_nothing)

    @property
    def needs_batches(self) -> bool:
        """Whether the model has to run; a user's function is not asked."""
        return self.passes is not None

    @property
    def from_checkpoint(self) -> bool:
        """Whether weights suffice, and the model need not run."""
        return self.read is not None

    @property
    def of_gradients(self) -> bool:
        """Whether it is made of the batches' gradients, so that several such sources share one pass."""
        return self.passes is gradient_passes

    def with_options(self, **options: object) -> "Source":
        """Return the source with some of its options set; TypeError, which lists them, for any other."""
        unknown = [name for name in options if name not in self.options]
        if unknown:
            allowed = ", ".join(self.options) or "it has none"
            raise TypeError(f"the source {self.name!r} has no option {unknown[0]!r}; its options: {allowed}")
        if not options or self.passes is None:
            return self
        return replace(self, passes=functools.partial(self.passes, **options))

    def check_scheme(self, tables: Mapping[str, NodeTable]) -> None:
        """Raise a ValueError if some tables are of a scheme that it refuses; nothing has run yet."""
        for table in tables.values():
            if reason := self.refuses(table.scheme):
                raise ValueError(f"{reason} (asked for {table})")

    def bytes_between(self, nodes: int, width: int) -> int:
        """Count what each process hands over so that all have the features of a table (nodes, width)."""
        if self.accumulator is None:
            return 4 * nodes * width  # the features themselves, in float32
        return self.accumulator(nodes).bytes_between(width)

    def measure(
        self,
        model: nn.Module,
        tables: Mapping[str, NodeTable],
        batches: Batches | None,
        loss: Loss | None,
        on_failure: OnFailure | None = None,
    ) -> dict[str, SharedAccumulator]:
        """Run the passes and return each table's accumulator, which other processes' may be joined with.

        Of tables that have no features, `on_failure` (group, reason) is told, and they have no accumulator.
        """
        if self.passes is None or self.accumulator is None:
            raise ValueError(f"the source {self.name!r} does not run the model, so nothing is accumulated")
        self.check_scheme(tables)
        keep: Callable[..., SharedAccumulator] = self.accumulator
        if self.takes_file:
            shapes = [table.shape for table in tables.values()]
            keep = functools.partial(keep, file=file_for(sum(self.bytes_between(*shape) for shape in shapes)))
        return run_passes(self.passes, keep, model, tables, batches, loss, on_failure)

    def collect_in_turn(
        self,
        model: Weights,
        tables: Mapping[str, NodeTable],
        batches: Batches | None = None,
        loss: Loss | None = None,
        on_failure: OnFailure | None = None,
    ) -> Mapping[str, Tensor]:
        """Measure as `collect` does, and give features that are made one table at a time, with a `pop`."""
        if self.passes is None:
            return self.collect(model, tables, batches, loss, on_failure=on_failure)
        kept = self.measure(run_by(self, model), tables, batches, loss, on_failure)
        failures = Failures(tables, on_failure)
        for group in [group for group, one in kept.items() if one.is_empty]:
            with failures.of_table(group):
                kept.pop(group).features()
        return PendingFeatures({group: one.features for group, one in kept.items()})

    def collect(
        self,
        model: Weights,
        tables: Mapping[str, NodeTable],
        batches: Batches | None = None,
        loss: Loss | None = None,
        tuned: ModelLike | None = None,
        on_failure: OnFailure | None = None,
    ) -> dict[str, Tensor]:
        """Return the features of each table, as in `paramgraph.collect`; weights suffice for `from_checkpoint`."""
        self.check_scheme(tables)
        if tuned is not None and not self.needs_tuned:
            readers = " and ".join(repr(name) for name, source in SOURCES.items() if source.needs_tuned)
            given = repr(self.name if self.function is None else self.function)
            raise ValueError(f"tuned is read by the source {readers} alone, not by {given}: leave it out")
        if self.read is not None:
            if self.needs_tuned and tuned is None:
                raise ValueError(
                    f"the source {self.name!r} needs tuned=..., the fine-tuned model, its folder or adapter"
                )
            return self.read(model, tuned, tables, **_told(self.read, on_failure))
        model = run_by(self, model)
        if self.function is not None:
            return _of_function(self.function, model, tables, batches, on_failure)
        kept = self.measure(model, tables, batches, loss, on_failure)
        return features_of(kept, Failures(tables, on_failure))


def run_by(source: Source, model: Weights) -> nn.Module:
    """Give the model that a source runs; a TypeError for weights alone."""
    if isinstance(model, Mapping) and not isinstance(model, nn.Module):
        raise TypeError(f"the source {source.name!r} runs the model; got {type(model).__name__}, its weights")
    return model


def as_source(source: SourceLike, **options: object) -> Source:
    """Look a source up by its name or a short one, or wrap a user's function; UnknownNameError for other names.

    `options` are those of the source, as `objective` of "output_gradients"; a TypeError lists them for any other.
    """
    if callable(source):
        own = Source(name=getattr(source, "__name__", type(source).__name__), function=source)
        return own.with_options(**options)
    for found in SOURCES.values():
        if source in (found.name, *found.short_names):
            return found.with_options(**options)
    raise UnknownNameError.among("source", source, SOURCES)


def source_refusal(source: str, scheme: str) -> str:
    """Say why a source gives no features of the nodes of a scheme.

    Parameters
    ----------
    source : str
        Name of a source.
    scheme : str
        Name of a scheme; a scheme of your own is refused nothing but what is known to need another.

    Returns
    -------
    str
        The reason; "" where it does.

    Raises
    ------
    UnknownNameError
        If no source has that name.

    Examples
    --------
    >>> source_refusal("weights", "blocks")
    ''
    >>> source_refusal("attention_maps", "rows")
    "attention maps belong to heads, not to 'rows': make the tables with scheme='heads'"
    """
    return as_source(source).refuses(scheme)


def run_passes(
    passes: Passes,
    keep: Callable[[int], Kept],
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    on_failure: OnFailure | None = None,
) -> dict[str, Kept]:
    """Run passes to their end and keep, for each table that has not failed, what `keep` makes of its pieces."""
    kept = {group: keep(len(table.names)) for group, table in tables.items()}

    def drop(group: str, reason: str) -> None:
        del kept[group]
        assert on_failure is not None
        on_failure(group, reason)

    told = _told(passes, None if on_failure is None else drop)
    for _ in passes(model, tables, batches, loss, lambda group, X: kept[group].add(X), **told):
        pass
    return kept


def features_of(kept: Mapping[str, Accumulator], failures: Failures) -> dict[str, Tensor]:
    """Take the features out of accumulators; one that no piece has reached is its table's failure."""
    found = {}
    for group, accumulator in kept.items():
        with failures.of_table(group):
            found[group] = accumulator.features()
    return found


class PendingFeatures(Mapping[str, Tensor]):
    """Features of many tables, each made when it is asked for and not kept: one matrix in memory at a time.

    `pop` forgets what it is made of, too.

    >>> import torch
    >>> features = PendingFeatures({"w": lambda: torch.ones(1)})
    >>> features.pop("w"), len(features)
    (tensor([1.]), 0)
    """

    def __init__(self, make: Mapping[str, Callable[[], Tensor]]) -> None:
        self._make = dict(make)

    def __getitem__(self, key: str) -> Tensor:
        return self._make[key]()

    def __contains__(self, key: object) -> bool:
        return key in self._make

    def __iter__(self) -> Iterator[str]:
        return iter(self._make)

    def __len__(self) -> int:
        return len(self._make)

    def pop(self, key: str, default: Tensor | None = None) -> Tensor:
        """Make the features of a table and let go of the rest; the default where there are none."""
        if key not in self._make and default is not None:
            return default
        return self._make.pop(key)()


def read_weights(
    weights: Weights,
    tuned: ModelLike | None,
    tables: Mapping[str, NodeTable],
    on_failure: OnFailure | None = None,
) -> dict[str, Tensor]:
    """Gather the weights of some tables: copies of a module's; of a mapping, one parameter in memory at a time."""
    failures = Failures(tables, on_failure)
    found: dict[str, Tensor] = {}
    if isinstance(weights, nn.Module) or not isinstance(
        weights, Mapping
    ):  # what is neither, `unwrap` refuses
        named = dict(unwrap(weights).named_parameters())
        for group, table in tables.items():
            with failures.of_table(group):
                found[group] = table.gather(named).detach().clone()
        return found
    return assembled(tables, lambda name: weights[name].detach(), failures)


def _read_updates(
    weights: Weights,
    tuned: ModelLike | None,
    tables: Mapping[str, NodeTable],
    on_failure: OnFailure | None = None,
) -> dict[str, Tensor]:
    assert tuned is not None  # `collect` and `compare` ask for it first
    before = unwrap(weights) if isinstance(weights, nn.Module) else weights
    return collect_updates(before, tuned, tables, on_failure)


def _of_function(
    function: OwnSource,
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    on_failure: OnFailure | None,
) -> dict[str, Tensor]:
    # Each table needs its own pass, which an iterator has only once.
    again = None if batches is None else list(batches)
    failures = Failures(tables, on_failure)
    found: dict[str, Tensor] = {}
    for group, table in tables.items():
        with failures.of_table(group):
            features = function(model, table, again)
            nodes = len(table.names)
            if not isinstance(features, Tensor) or features.ndim != 2 or features.shape[0] != nodes:
                got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
                raise ValueError(f"source: expected a tensor ({nodes}, features) for {group!r}, got {got}")
            found[group] = features
    return found


def _only_heads(scheme: str) -> str:
    if scheme == "heads":
        return ""
    return f"attention maps belong to heads, not to {scheme!r}: make the tables with scheme='heads'"


def _no_blocks(scheme: str) -> str:
    if scheme != "blocks":
        return ""
    return (
        "activations do not belong to blocks: a block is a part of the outputs and of the inputs, and all blocks "
        "beside or below each other would have the same; make the tables with scheme='rows' or 'columns'"
    )


def _only_outputs(scheme: str) -> str:
    if scheme not in ("blocks", "columns"):
        return ""
    return (
        f"gradients at outputs belong to rows, not to {scheme!r}: make the tables with scheme='rows', 'heads' or "
        "'layers'"
    )


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(name="weights", read=read_weights, is_signal=True),
        Source(
            name="gradients",
            passes=gradient_passes,
            accumulator=MeanFeatures,
            takes_file=True,
            needs_loss=True,
            is_signal=True,
        ),
        Source(name="batch_gradients", passes=gradient_passes, accumulator=StreamingGram, needs_loss=True),
        Source(
            name="activations",
            passes=activation_passes,
            accumulator=StreamingGram,
            is_signal=True,
            options=("side",),
            refuses=_no_blocks,
        ),
        Source(
            name="output_gradients",
            passes=output_gradient_passes,
            accumulator=StreamingGram,
            options=("objective", "seed"),
            refuses=_only_outputs,
        ),
        Source(
            name="attention_maps",
            short_names=("attention",),
            passes=attention_passes,
            accumulator=StreamingGram,
            refuses=_only_heads,
        ),
        Source(name="updates", read=_read_updates, needs_tuned=True, is_signal=True),
    )
}
