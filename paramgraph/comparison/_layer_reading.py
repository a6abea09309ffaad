"""What a comparison needs to know of each layer: features for its graphs, and a signal that is measured on them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.checkpoints import WeightMapping
from paramgraph.comparison._batch_split import BatchSplit
from paramgraph.measures import GramSums
from paramgraph.nodes import NodeTable
from paramgraph.sources import SOURCES, Source, as_source, collect, collect_batch_gradients


@dataclass(frozen=True, eq=False)
class Signal:
    """Hold the signal of one layer.

    Parameters
    ----------
    X : Tensor of shape (nodes, width)
        Float64: the mean gradient, the update, the activations or the weights.
    gradients : sequence of Tensor of shape (nodes, width), optional
        Of the single batches; None where the signal is no gradient.

    Examples
    --------
    >>> Signal(torch.ones(3, 2, dtype=torch.float64)).gradients is None
    True
    """

    X: Float[Tensor, "nodes width"]
    gradients: Sequence[Tensor] | None = None

    @cached_property
    def sums(self) -> GramSums:
        """What the null models need of the signal, computed once for all constructions."""
        return GramSums.of(self.X)


@dataclass(eq=False)
class LayerReading:
    """Hold what was read of one layer; what could not be read is kept as the error, and raised when asked for.

    Parameters
    ----------
    table : NodeTable
        The nodes.
    features : dict
        By source and seed: features from the building batches, and from each half of them (None for a source that
        does not depend on batches).
    signals : dict
        By seed.

    Examples
    --------
    >>> from paramgraph import rows
    >>> LayerReading(rows(nn.Sequential(nn.Linear(2, 3)))["0.weight"]).table.shape
    (3, 2)
    """

    table: NodeTable
    features: dict[tuple[str, int], Any] = field(default_factory=dict)
    signals: dict[int, Any] = field(default_factory=dict)

    def features_of(self, source: str, seed: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return features from all building batches and from their halves, or raise why there are none."""
        found: tuple[Tensor, Tensor | None, Tensor | None] = _or_raise(self.features[source, seed])
        return found

    def signal(self, seed: int) -> Signal:
        """Return the signal, or raise why there is none."""
        found: Signal = _or_raise(self.signals[seed])
        return found


@dataclass(frozen=True, eq=False)
class LayerReader:
    """Read features and signals of layers, several at a time.

    Parameters
    ----------
    model : nn.Module
        What runs; on the meta device where nothing has to.
    weights : WeightMapping
        Its weights, read one at a time.
    sources : mapping of str to source
        What features are needed, by name.
    signal : str
        What is measured: a source with `is_signal`.
    batches : sequence
        All batches.
    splits : mapping of int to BatchSplit
        By seed: which of them build, and which measure.
    loss : callable, optional
        As in `collect`.
    tuned : object, optional
        As in `collect`.

    Notes
    -----
    Gradients of all batches are collected in one pass and kept: batches x nodes x width numbers for each layer that
    is read together with others. Other sources run three times over the building batches of each seed.
    """

    model: nn.Module
    weights: WeightMapping
    sources: Mapping[str, Any]
    signal: str
    batches: Sequence[Any]
    splits: Mapping[int, BatchSplit]
    loss: Any = None
    tuned: Any = None

    @property
    def runs(self) -> bool:
        """Whether the model has to run."""
        return not all(source.from_checkpoint for source in self._read.values())

    def bytes_of(self, table: NodeTable) -> int:
        """Estimate the memory that reading a layer together with others takes.

        Parameters
        ----------
        table : NodeTable
            The layer.

        Returns
        -------
        int
            Bytes of gradients and compressed features; 0 where layers are read one at a time.
        """
        nodes, width = table.shape
        total = 4 * nodes * width * len(self.batches) if self._needs_gradients else 0
        # Sums in float64 while they are collected, then up to nodes + 1 columns for the whole and for both halves.
        return total + 8 * nodes * nodes * 3 * len(self._running) * len(self.splits)

    def read(self, tables: Mapping[str, NodeTable]) -> Iterator[LayerReading]:
        """Read some layers.

        Parameters
        ----------
        tables : mapping of str to NodeTable
            The layers that share passes over the batches.

        Yields
        ------
        LayerReading
            One for each, in their order.
        """
        gradients = _attempt(self._batch_gradients, tables) if self._needs_gradients else {}
        shared: dict[tuple[str, int], Any] = {}
        for name in self._running:
            for seed, split in self.splits.items():
                shared[name, seed] = _attempt(self._run, tables, self.sources[name], split)
        signal = self._read[self.signal]
        if not signal.from_checkpoint and not signal.of_gradients:
            for seed, split in self.splits.items():
                loss = self.loss if signal.needs_loss else None
                shared["signal", seed] = _attempt(
                    collect, self.model, tables, self.signal, self._take(split.measure), loss
                )
        for group, table in tables.items():
            yield self._assemble(group, table, gradients, shared)

    @cached_property
    def _read(self) -> dict[str, Source]:
        """All that is read, by name: what graphs are built from, and the signal."""
        return {self.signal: SOURCES[self.signal]} | {
            name: as_source(source) for name, source in self.sources.items()
        }

    @property
    def _running(self) -> list[str]:
        """Names of the sources with passes of their own over the building batches."""
        return [
            name
            for name in self.sources
            if not self._read[name].from_checkpoint and not self._read[name].of_gradients
        ]

    @property
    def _needs_gradients(self) -> bool:
        # Collected once, batch by batch, for all seeds and for the signal.
        return any(source.of_gradients for source in self._read.values())

    def _take(self, numbers: Sequence[int]) -> list[Any]:
        return [self.batches[number] for number in numbers]

    def _batch_gradients(self, tables: Mapping[str, NodeTable]) -> dict[str, list[Tensor]]:
        found: dict[str, list[Tensor]] = {group: [] for group in tables}
        for of_batch in collect_batch_gradients(self.model, tables, self.batches, self.loss):
            for group, gradient in of_batch.items():
                found[group].append(gradient.to("cpu"))
        return found

    def _run(self, tables: Mapping[str, NodeTable], source: Any, split: BatchSplit) -> dict[str, Any]:
        parts = [
            collect(self.model, tables, source, self._take(numbers), self.loss)
            for numbers in (split.build, *split.halves)
        ]
        return {group: tuple(part[group] for part in parts) for group in tables}

    def _assemble(
        self, group: str, table: NodeTable, gradients: Any, shared: Mapping[tuple[str, int], Any]
    ) -> LayerReading:
        reading = LayerReading(table)
        static = {
            name: _attempt(self._static, source, group, table)
            for name, source in self._read.items()
            if source.from_checkpoint
        }
        for seed, split in self.splits.items():
            for name in self.sources:
                if name in static:
                    value = (
                        static[name] if isinstance(static[name], Exception) else (static[name], None, None)
                    )
                elif self._read[name].of_gradients:
                    value = _attempt(_reduce, gradients, group, self._read[name], split)
                else:
                    value = _attempt(_pick, shared[name, seed], group)
                reading.features[name, seed] = value
            reading.signals[seed] = _attempt(self._signal, group, split, seed, static, gradients, shared)
        return reading

    def _static(self, source: Source, group: str, table: NodeTable) -> Tensor:
        assert source.read is not None
        return source.read(self.weights, self.tuned, {group: table})[group]

    def _signal(
        self, group: str, split: BatchSplit, seed: int, static: Mapping[str, Any], gradients: Any, shared: Any
    ) -> Signal:
        if self._read[self.signal].of_gradients:
            measured = [_pick(gradients, group)[number] for number in split.measure]
            total = torch.zeros_like(measured[0], dtype=torch.float64)
            for gradient in measured:
                total += gradient
            return Signal(total / len(measured), measured)
        found = _or_raise(static[self.signal] if self.signal in static else shared["signal", seed])
        X = (found[group] if isinstance(found, dict) else found).to("cpu", torch.float64)
        if not bool(torch.isfinite(X).all()):
            raise ValueError(f"{self.signal} of {group!r} have NaN or infinite entries")
        return Signal(X)


def _reduce(gradients: Any, group: str, source: Source, split: BatchSplit) -> tuple[Tensor, Tensor, Tensor]:
    """Make the features of a source from the gradients of single batches."""
    of_layer: Sequence[Tensor] = _pick(gradients, group)
    made = []
    assert source.accumulator is not None
    for numbers in (split.build, *split.halves):
        accumulator = source.accumulator(of_layer[0].shape[0])
        for number in numbers:
            accumulator.add(of_layer[number])
        made.append(accumulator.features())
    return made[0], made[1], made[2]


def _pick(found: Any, group: str) -> Any:
    return _or_raise(found)[group]


def _attempt(read: Callable[..., Any], *arguments: Any) -> Any:
    """Call, and return the error where there is one: other layers and sources go on without what it lacks."""
    try:
        return read(*arguments)
    except Exception as error:  # sources and models of users raise what they like
        return error


def _or_raise(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value
