"""What a comparison needs to know of each layer: features for its graphs, and a signal that is measured on them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.checkpoints import WeightMapping
from paramgraph.comparison._batch_split import BatchSplit
from paramgraph.comparison._options import read_sources
from paramgraph.measures import GramSums
from paramgraph.nodes import NodeTable
from paramgraph.sources import (
    ChosenBatches,
    Loss,
    Source,
    SourceLike,
    collect,
    collect_batch_gradients,
)

# Features from all building batches of a seed, and from each half of them where they depend on batches.
Features = tuple[Tensor, Tensor | None, Tensor | None]
Kept = TypeVar("Kept")
# What a pass gave each of the layers that shared it, or why it gave this one nothing.
OfLayers: TypeAlias = Mapping[str, Kept | Exception]


@dataclass(frozen=True, eq=False)
class Signal:
    """Hold the signal X of one layer in float64, and the gradients of single batches where it is their mean."""

    X: Float[Tensor, "nodes width"]
    gradients: Sequence[Tensor] | None = None

    @cached_property
    def sums(self) -> GramSums:
        """What the null models need of the signal, computed once for all constructions."""
        return GramSums.of(self.X)


@dataclass(eq=False)
class LayerReading:
    """Hold features of one layer by source and seed, and signals by seed; what could not be read is its error."""

    table: NodeTable
    features: dict[tuple[str, int], Features | Exception] = field(default_factory=dict)
    signals: dict[int, Signal | Exception] = field(default_factory=dict)

    def features_of(self, source: str, seed: int) -> Features:
        """Return features from all building batches and from their halves, or raise why there are none."""
        return _or_raise(self.features[source, seed])

    def signal(self, seed: int) -> Signal:
        """Return the signal, or raise why there is none."""
        return _or_raise(self.signals[seed])


@dataclass(frozen=True, eq=False)
class LayerReader:
    """Read features and signals of layers, several at a time.

    `model` is what runs, on the meta device where nothing has to, and `weights` are its, read one at a time; `sources`
    are what features are needed, by name, `signal` is the source that is measured. Of all `batches`, `splits` say by
    seed which ones build and which measure.

    Gradients of batches that some seed builds or measures with are collected in one pass and kept: batches x nodes x
    width numbers for each layer that is read together with others. Other sources run three times over the building
    batches of each seed.
    """

    model: nn.Module
    weights: WeightMapping
    sources: Mapping[str, SourceLike]
    signal: str
    batches: Sequence[Any]  # Any: what the user's loss or model takes
    splits: Mapping[int, BatchSplit]
    loss: Loss | None = None
    tuned: WeightMapping | None = None

    @property
    def runs(self) -> bool:
        """Whether the model has to run."""
        return bool(self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """What batches are read for, of "build" and "measure"; nothing where the model does not run."""
        build = any(not self._read[name].from_checkpoint for name in self.sources)
        measure = not self._read[self.signal].from_checkpoint
        return ("build",) * build + ("measure",) * measure

    def bytes_of(self, table: NodeTable) -> int:
        """Estimate the bytes of gradients and compressed features of a layer; 0 where layers are read one by one."""
        nodes, width = table.shape
        total = 4 * nodes * width * len(self._gradient_batches)
        # Sums in float64 while they are collected, then up to nodes + 1 columns for the whole and for both halves.
        return total + 8 * nodes * nodes * 3 * len(self._running) * len(self.splits)

    def read(self, tables: Mapping[str, NodeTable]) -> Iterator[LayerReading]:
        """Read some layers, which share passes over the batches, and yield one reading each, in their order."""
        signal = self._read[self.signal]
        runs = not signal.from_checkpoint and not signal.of_gradients
        passes = _Passes(
            _attempt(self._batch_gradients, tables) if self._gradient_batches else {},
            {
                (name, seed): _attempt(self._features, tables, self.sources[name], split)
                for name in self._running
                for seed, split in self.splits.items()
            },
            {
                seed: _attempt(self._measured, tables, split)
                for seed, split in (self.splits.items() if runs else ())
            },
        )
        for group, table in tables.items():
            yield self._assemble(group, table, passes)

    @cached_property
    def _read(self) -> dict[str, Source]:
        return read_sources(self.signal, self.sources)

    @property
    def _running(self) -> list[str]:
        """Names of the sources with passes of their own over the building batches."""
        return [
            name
            for name in self.sources
            if not self._read[name].from_checkpoint and not self._read[name].of_gradients
        ]

    @cached_property
    def _gradient_batches(self) -> list[int]:
        """Batches whose gradients some seed needs: collected once, for all seeds and for the signal."""
        build = any(self._read[name].of_gradients for name in self.sources)
        measure = self._read[self.signal].of_gradients
        splits = self.splits.values()
        return sorted(
            {number for split in splits for number in split.build * build + split.measure * measure}
        )

    def _batch_gradients(self, tables: Mapping[str, NodeTable]) -> OfLayers[dict[int, Tensor]]:
        found: dict[str, dict[int, Tensor]] = {group: {} for group in tables}
        reasons: dict[str, str] = {}
        numbers = self._gradient_batches
        passed = collect_batch_gradients(
            self.model, tables, ChosenBatches(self.batches, numbers), self.loss, reasons.__setitem__
        )
        for number, of_batch in zip(numbers, passed, strict=True):
            for group, gradient in of_batch.items():
                found[group][number] = gradient.to("cpu")
            for group in reasons:
                found[group] = {}  # what came before the failure is of no use, and large
        return found | _failed(reasons)

    def _features(
        self, tables: Mapping[str, NodeTable], source: SourceLike, split: BatchSplit
    ) -> OfLayers[Features]:
        reasons: dict[str, str] = {}
        whole = self._collect(tables, source, split.build, self.loss, reasons)
        there = {group: table for group, table in tables.items() if group in whole}
        # What has features of all batches may have none of half of them, as an expert that no token of these reaches.
        first, second = (self._collect(there, source, numbers, self.loss, {}) for numbers in split.halves)
        found = {group: (X, first.get(group), second.get(group)) for group, X in whole.items()}
        return found | _failed(reasons)

    def _collect(
        self,
        tables: Mapping[str, NodeTable],
        source: SourceLike,
        numbers: Sequence[int],
        loss: Loss | None,
        reasons: dict[str, str],
    ) -> dict[str, Tensor]:
        if not tables:
            return {}
        taken = ChosenBatches(self.batches, numbers)
        return collect(self.model, tables, source, taken, loss, on_failure=reasons.__setitem__)

    def _measured(self, tables: Mapping[str, NodeTable], split: BatchSplit) -> OfLayers[Tensor]:
        reasons: dict[str, str] = {}
        loss = self.loss if self._read[self.signal].needs_loss else None
        return self._collect(tables, self.signal, split.measure, loss, reasons) | _failed(reasons)

    def _assemble(self, group: str, table: NodeTable, passes: "_Passes") -> LayerReading:
        reading = LayerReading(table)
        static = {
            name: _attempt(self._static, source, group, table)
            for name, source in self._read.items()
            if source.from_checkpoint
        }
        for seed, split in self.splits.items():
            for name in self.sources:
                if name in static:
                    features = _attempt(_without_halves, static[name])
                elif self._read[name].of_gradients:
                    features = _attempt(_reduced, passes.gradients, group, self._read[name], split)
                else:
                    features = _attempt(_pick, passes.features[name, seed], group)
                reading.features[name, seed] = features
            reading.signals[seed] = _attempt(self._signal, group, split, seed, static, passes)
        return reading

    def _static(self, source: Source, group: str, table: NodeTable) -> Tensor:
        assert source.read is not None
        return source.read(self.weights, self.tuned, {group: table})[group]

    def _signal(
        self,
        group: str,
        split: BatchSplit,
        seed: int,
        static: Mapping[str, Tensor | Exception],
        passes: "_Passes",
    ) -> Signal:
        if self._read[self.signal].of_gradients:
            of_layer = _pick(passes.gradients, group)
            measured = [of_layer[number] for number in split.measure]
            total = torch.zeros_like(measured[0], dtype=torch.float64)
            for gradient in measured:
                total += gradient
            return Signal(total / len(measured), measured)
        found = static[self.signal] if self.signal in static else _pick(passes.signals[seed], group)
        X = _or_raise(found).to("cpu", torch.float64)
        if not bool(torch.isfinite(X).all()):
            raise ValueError(f"{self.signal} of {group!r} have NaN or infinite entries")
        return Signal(X)


class _Passes(NamedTuple):
    """What passes over the batches gave for layers that share them: by group, or the error that a pass raised."""

    gradients: OfLayers[dict[int, Tensor]] | Exception  # by number of the batch
    features: dict[tuple[str, int], OfLayers[Features] | Exception]
    signals: dict[int, OfLayers[Tensor] | Exception]


def _without_halves(features: Tensor | Exception) -> Features:
    return _or_raise(features), None, None


def _reduced(
    gradients: OfLayers[dict[int, Tensor]] | Exception, group: str, source: Source, split: BatchSplit
) -> Features:
    """Make the features of a source from the gradients of single batches."""
    assert source.accumulator is not None
    of_layer = _pick(gradients, group)
    made = []
    for numbers in (split.build, *split.halves):
        accumulator = source.accumulator(of_layer[numbers[0]].shape[0])
        for number in numbers:
            accumulator.add(of_layer[number])
        made.append(accumulator.features())
    return made[0], made[1], made[2]


def _pick(found: OfLayers[Kept] | Exception, group: str) -> Kept:
    return _or_raise(_or_raise(found)[group])


def _failed(reasons: Mapping[str, str]) -> dict[str, Exception]:
    return {group: ValueError(reason) for group, reason in reasons.items()}


def _attempt(read: Callable[..., Kept], *arguments: Any) -> Kept | Exception:  # Any: as `read` takes them
    """Call, and return the error where there is one: other layers and sources go on without what it lacks."""
    try:
        return read(*arguments)
    except Exception as error:  # sources and models of users raise what they like
        return error


def _or_raise(found: Kept | Exception) -> Kept:
    if isinstance(found, Exception):
        raise found
    return found
