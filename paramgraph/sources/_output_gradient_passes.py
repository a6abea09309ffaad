r"""Passes over batches that hand on gradients at the outputs of layers, and the inputs that go with them.

For a layer :math:`y = W x` and a number :math:`\rho` per text, :math:`g = \partial \rho / \partial y`: the rows of W
that matter to the same part of rho have like gradients.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.errors import NumericalWarning, users_level
from paramgraph.nodes import NodeTable, unwrap
from paramgraph.sources._activation_passes import Reading, of_nodes, plans_of, without_embeddings
from paramgraph.sources._capture import (
    Call,
    Layer,
    Taps,
    accumulation_dtype,
    layers_of,
    matrix_sizes,
    module_of,
    weight_of,
)
from paramgraph.sources._expert_products import Routed, by_matrix
from paramgraph.sources._failures import Failures, OnFailure
from paramgraph.sources._objectives import (
    Objective,
    body_of,
    check_objective,
    draws,
    runs_whole,
    take_texts,
    text_mask,
    texts_of,
)
from paramgraph.sources._padding import Placement, Tracer, Unplaced, of_expert, rows_of, told
from paramgraph.sources._passes import (
    Batches,
    Loss,
    Sink,
    check_finite,
    named_batch,
    parameters_of,
    passes,
    values_of,
)
from paramgraph.sources._token_streams import Masks, stream_of_signal
from paramgraph.sources.accumulators import FeatureBlocks


@dataclass(frozen=True)
class LayerGradients:
    """One call of a layer in one draw: its inputs and the gradients at its outputs, at the real tokens, text by text.

    `counts` are the tokens of each text, None where the layout does not tell; `first` is the number of the first text
    among all texts of the passes. `x` is None where the objective does not reach the call, and g is 0 then.
    """

    parameter: str
    left: int  # calls of layers with this parameter that are still to come in this draw
    x: Float[Tensor, "tokens inputs"] | None
    g: Float[Tensor, "tokens outputs"]
    counts: tuple[int, ...] | None
    first: int


Receive = Callable[[LayerGradients], None]


def output_gradient_passes(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    sink: Sink,
    objective: Objective = "representation",
    seed: int = 0,
    on_failure: OnFailure | None = None,
) -> Iterator[None]:
    """Hand on the gradients at the outputs that belong to the nodes of some tables, a column per token and draw.

    A table of one layer gets a piece (nodes, columns) per call of the layer, a table of several layers one per draw.
    The loss is not read: rho is the objective's.
    """
    bare = unwrap(model)
    tables = by_matrix(tables)
    failures = Failures(tables, on_failure)
    plans = output_readings(bare, tables, failures)
    blocks = {group: FeatureBlocks(tables[group].shape[0]) for group, plan in plans.items() if len(plan) > 1}
    users: dict[str, list[tuple[str, Reading]]] = {}
    for group, plan in plans.items():
        for reading in plan:
            users.setdefault(reading.parameter, []).append((group, reading))

    def receive(found: LayerGradients) -> None:
        for group, reading in users[found.parameter]:
            if group not in failures.reasons:
                with failures.of_table(group):
                    piece = of_nodes(found.g, reading.features)
                    if group in blocks:
                        stream = stream_of_signal(bare, found.parameter)
                        blocks[group].add((reading.at[1], stream), reading.at[0], piece)
                    else:
                        sink(group, piece)

    def drawn() -> None:
        for group, kept in blocks.items():
            if group not in failures.reasons:
                with failures.of_table(group):
                    sink(group, kept.take())

    yield from (
        None
        for _ in layer_gradient_passes(
            bare, list(users), batches, receive, objective, seed, drawn=drawn, failures=failures
        )
    )


def output_readings(
    bare: nn.Module, tables: Mapping[str, NodeTable], failures: Failures | None = None
) -> dict[str, list[Reading]]:
    """List which output features of which layers belong to the nodes of some tables; without those that fail.

    Readings name layers as `layer_gradient_passes` takes them: by parameter, and an expert by its index too.
    """
    tables = by_matrix(tables)
    failures = failures or Failures(tables)
    layers = layers_of(bare, parameters_of(tables), failures)
    return plans_of(failures.remaining(tables), layers, "output", failures)


def layer_gradient_passes(
    bare: nn.Module,
    parameters: list[str],
    batches: Batches | None,
    receive: Receive,
    objective: Objective = "representation",
    seed: int = 0,
    by_text: bool = False,
    drawn: Callable[[], None] = lambda: None,
    failures: Failures | None = None,
) -> Iterator[tuple[int, int]]:
    """Hand on inputs and output gradients of the layers of some parameters; yield texts and draws of each batch.

    Nothing more of a layer is handed on once it has failed.

    With `by_text`, the tokens of each text are known: a batch runs text by text once a layer does not tell them apart.
    One forward pass per batch and one backward pass per draw. `drawn` is called when a draw is complete.
    """
    check_objective(objective)
    failures = failures or Failures({})
    layers = without_embeddings(layers_of(bare, parameters, failures))
    generator = torch.Generator(device="cpu").manual_seed(seed)
    step = _Step(bare, layers, receive, objective, generator, by_text, drawn, failures)
    found = False
    for texts, count in passes(bare, batches, step.run):
        found |= texts > 0
        yield texts, count
    if step.empty:
        if not found:
            raise ValueError(f"none of the {step.empty} texts has a token that is no padding")
        warnings.warn(
            f"{step.empty} texts hold nothing but padding and were left out; {step.texts} were measured",
            NumericalWarning,
            stacklevel=users_level(),
        )
    failures.check_called([name for name in layers if step.is_in_body(name)], step.called)


class _Step:
    """What happens to one batch after the other."""

    def __init__(
        self,
        bare: nn.Module,
        layers: Mapping[str, list[Layer]],
        receive: Receive,
        objective: Objective,
        generator: torch.Generator,
        by_text: bool,
        drawn: Callable[[], None],
        failures: Failures,
    ) -> None:
        self.bare, self.layers, self.receive = bare, layers, receive
        self.objective, self.generator = objective, generator
        self.by_text, self.drawn, self.failures = by_text, drawn, failures
        # Where texts are told apart, products of x and g are asked for: gradients of the weight.
        self.taps = Taps(layers, self._receive, failures, self._seen, products=by_text)
        self.tracer = Tracer(bare, layers, self._forward)
        self.texts = self.empty = 0
        self._with_tokens: set[str] = set()  # experts
        self._of_padding: set[str] = set()  # experts that were given nothing but padding in some call
        self._asked: set[str] = set()  # layers that were traced to see whether they have one row a text
        body = {id(module) for module in body_of(bare).modules()}
        self._outside = {
            name
            for name, using in layers.items()
            if objective == "representation"
            and not runs_whole(bare)
            and not any(id(module_of(layer)) in body for layer in using)
        }

    def is_in_body(self, name: str) -> bool:
        """Say whether the objective runs the layers of a parameter at all: a head has no part in a representation."""
        return name not in self._outside

    @property
    def called(self) -> set[str]:
        """Layers that have run on a token."""
        return self.taps.called - (self._of_padding - self._with_tokens)

    def run(self, index: int, batch: Any) -> tuple[int, int]:
        """Measure one batch, without its texts that are all padding; return how many texts and draws there were."""
        self._index = index
        texts = texts_of(self.bare, batch)
        if texts is None:
            raise ValueError(
                f"batch {index}, a {type(batch).__name__}, holds no tensor with a row per text: give batches as the "
                "model takes them, of token numbers where it reads text"
            )
        mask = None if self._is_own(batch) else text_mask(self.bare, batch)
        if mask is not None and mask.shape[0] == texts:
            real = [text for text, any_token in enumerate(mask.any(dim=1).tolist()) if any_token]
            self.empty += texts - len(real)
            if not real:
                return 0, 0
            if len(real) < texts:
                batch, texts = take_texts(batch, real, texts), len(real)
        state = self.generator.get_state()
        count = self._measure(batch, texts)
        if count is None:
            self.generator.set_state(state)
            for text in range(texts):
                count = self._measure(take_texts(batch, [text], texts), 1)
        assert count is not None
        return texts, count

    def _is_own(self, batch: Any) -> bool:
        """Say whether a callable alone knows what a batch holds."""
        return callable(self.objective) and not isinstance(batch, Mapping)

    def _measure(self, batch: Any, texts: int) -> int | None:
        """Run forward and backward; None, before anything is handed on, where texts have to be told apart first."""
        self._texts, self._batch = texts, batch
        named = batch if self._is_own(batch) else named_batch(self.bare, batch)
        self._masks = Masks(self.bare, named)
        self._places: dict[Call, Placement] = {}
        self._shapes: dict[Call, tuple[int, Tensor]] = {}
        self._unplaced: dict[Call, Unplaced] = {}
        given = [value for value in values_of(named) if isinstance(value, Tensor)]
        # One row a text comes in, so one row a text runs through: no tokens that experts could share among them.
        self._is_flat = all(
            value.ndim < 2 or (value.ndim == 2 and value.is_floating_point()) for value in given
        )
        with self._masks.watched():
            values = self.taps.forward(lambda: draws(self.bare, batch, self.objective, self.generator))
        self._trace()
        if self.by_text and any(
            place.counts is None and not self.failures.has_layer(call.name)
            for call, place in self._places.items()
        ):
            return None
        if any(value.ndim == 1 and len(value) != texts for value in values):
            raise ValueError(
                f"objective: expected one number for each of {texts} texts, got {tuple(values[0].shape)}"
            )
        for draw, value in enumerate(values):
            check_finite(value, "objective", "rho", self._index)
            self._left = self.taps.calls.copy()
            self._open = dict.fromkeys(self._places)
            self.taps.backward(value.sum(), again=draw + 1 < len(values))
            for call in list(self._open):
                if not self.failures.has_layer(call.name):
                    with self.failures.of_layer(call.name):
                        self._hand_on(call, None, self._zeros(call))
            for name in self._outside:
                if not self.failures.has_layer(name):
                    with self.failures.of_layer(name):
                        self._left[name] = 1
                        self._emit(name, None, self._no_gradient(name), (1,) * texts)
            self.drawn()
        self.texts += texts
        return len(values)

    def _seen(self, call: Call, output: Tensor, routed: Routed | None) -> None:
        stream = stream_of_signal(self.bare, call.name)
        mask = self._masks.of(stream)
        self._shapes[call] = output.shape[-1], output.new_empty(0, dtype=accumulation_dtype(output))
        if routed is not None:
            of_tokens = of_expert(call.name, len(rows_of(output)), routed, mask)
            (self._with_tokens if len(of_tokens.rows) else self._of_padding).add(call.name)
            alone = (len(of_tokens.rows),) if self._texts == 1 else of_tokens.counts
            self._places[call] = of_tokens._replace(counts=alone)
            return
        place = self.tracer.placed(call.name, output, mask, self._masks.has_others)
        place = self._told(place, output.shape, mask)
        if place is not None:
            self._places[call] = place
        if mask is not None and (place is None or self._is_one_row_each(place, output, call.name)):
            signal = output.detach().to(accumulation_dtype(output), copy=True)
            known = self._masks.has_tokens(stream)
            self._unplaced[call] = Unplaced(call.name, True, call.number, stream, signal, mask, known)

    def _told(self, place: Placement | None, shape: torch.Size, mask: Tensor | None) -> Placement | None:
        """Add what is known beside a mask: one text has all rows, and the first axis is that of the texts."""
        texts = self._texts
        if place is None or place.counts is not None or not self.by_text:
            return place
        if texts == 1:
            return Placement(place.rows, (len(place.rows),))
        # Where the next axis is as long, either may be that of the texts; and rows of a model that is given tokens may
        # be some of these, as experts have them.
        first = (
            len(shape) > 1 and shape[0] == texts and (self._is_flat if len(shape) == 2 else shape[1] != texts)
        )
        if mask is None and first:
            return Placement(place.rows, (len(place.rows) // texts,) * texts)
        return place

    def _is_one_row_each(self, place: Placement, output: Tensor, name: str) -> bool:
        """Say whether it is worth running the model once more to see that a layer is given one row for each text."""
        likely = self.by_text and place.counts is None and output.shape[:-1] == (self._texts,)
        if not likely or name in self._asked:
            return False
        self._asked.add(name)
        return True

    def _trace(self) -> None:
        """Find the tokens of layers whose shapes do not tell them."""
        calls = {call: one for call, one in self._unplaced.items() if not self.failures.has_layer(call.name)}
        doubtful = [one for call, one in calls.items() if call in self._places]
        lost = [call for call in calls if call not in self._places]
        with torch.no_grad():
            if doubtful:  # what is not found out leads to one text at a time
                self.tracer.trace(self._batch, self._masks, doubtful)
            traced = [calls[call] for call in lost]
            found = self.tracer.trace(self._batch, self._masks, traced) if lost else []
        rows = dict(zip(lost, found, strict=True))
        for call, one in calls.items():
            with self.failures.of_layer(call.name):
                place = self.tracer.placed(call.name, one.signal, one.mask)
                if place is None:
                    place = Placement(told(one, rows[call]), None)
                place = self._told(place, one.signal.shape, one.mask)
                assert place is not None
                self._places[call] = place

    def _forward(self, batch: Any) -> None:
        """Run the model as the objective does, with a generator of its own: only signals are looked at."""
        draws(self.bare, batch, self.objective, torch.Generator(device="cpu").manual_seed(0))

    def _zeros(self, call: Call) -> Tensor:
        outputs, like = self._shapes[call]
        return like.new_zeros(len(self._places[call].rows), outputs)

    def _no_gradient(self, name: str) -> Tensor:
        """Return one column of zeros per text, for a layer that does not run."""
        layer = self.layers[name][0]
        weight, (_, outputs) = weight_of(layer), matrix_sizes(layer)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return torch.zeros(self._texts, outputs, dtype=dtype, device=weight.device)

    def _receive(self, call: Call, layer: Layer, x: Tensor, g: Tensor) -> None:
        rows = self._places[call].rows.to(g.device)
        g = rows_of(g.to(accumulation_dtype(g)))[rows]
        check_finite(g, "output gradient", call.name, self._index)
        self._hand_on(call, rows_of(x.detach())[rows].to(g.dtype), g)

    def _hand_on(self, call: Call, x: Tensor | None, g: Tensor) -> None:
        del self._open[call]
        self._emit(call.name, x, g, self._places[call].counts)

    def _emit(self, name: str, x: Tensor | None, g: Tensor, counts: tuple[int, ...] | None) -> None:
        self._left[name] -= 1
        self.receive(LayerGradients(name, self._left[name], x, g, counts, self.texts))
