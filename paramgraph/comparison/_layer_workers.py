"""Who measures the layers of a comparison: this process, several processes, or a Dask cluster.

Layers are read here, one ahead, and sent as they are read: what is measured, and in which order it comes back, does not
depend on who measured it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

from paramgraph.cache import GraphCache
from paramgraph.comparison._constructions import Construction
from paramgraph.comparison._layer_comparison import compare_layer, described
from paramgraph.comparison._layer_reading import LayerReader, LayerReading
from paramgraph.comparison._options import MeasurementOptions
from paramgraph.nodes import NodeTable
from paramgraph.workers import CallWorkers, GivenUp, choose_workers

Finished: TypeAlias = Iterator[tuple[str, dict[str, Any]]]
Told = Callable[[float, str], None]


@dataclass(frozen=True)
class LayerTask:
    """One layer as it was read, and what is asked of it as in `compare_layer`."""

    reading: LayerReading
    constructions: Sequence[Construction]
    draw: bool
    pass_over_zero: bool


@dataclass(frozen=True)
class LayerSettings:
    """What is the same for all layers of a comparison."""

    signal: str
    options: MeasurementOptions
    seeds: Sequence[int]
    cache: GraphCache | None

    def measure(self, task: LayerTask, on_cell: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
        """Measure one layer."""
        return compare_layer(
            task.reading,
            task.constructions,
            self.signal,
            self.options,
            self.seeds,
            self.cache,
            draw=task.draw,
            on_cell=on_cell,
            pass_over_zero=task.pass_over_zero,
        )


class LayerWorkers(Protocol):
    """Who measures layers, and what there is to say of them afterwards."""

    @property
    def remarks(self) -> Sequence[str]:
        """How many there were, and which died."""

    def measure(
        self, settings: LayerSettings, tasks: Iterator[LayerTask], layers: int, told: Told
    ) -> Finished:
        """Give so many layers with their names, in the order of the tasks; `told` is how many cells were finished."""


class OwnMeasurement:
    """The calling process, one layer after the other; each cell is told as it is finished."""

    remarks: Sequence[str] = ()

    def measure(
        self, settings: LayerSettings, tasks: Iterator[LayerTask], layers: int, told: Told
    ) -> Finished:
        """Measure each layer before the next one is read."""
        for task in tasks:
            group = task.reading.table.group
            layer = settings.measure(task, partial(told, 1))
            del task  # the next one is read while this name would still hold it
            yield group, layer


class SentMeasurement:
    """Processes or a cluster, to which layers are sent."""

    def __init__(self, workers: CallWorkers) -> None:
        self._workers = workers

    @property
    def remarks(self) -> Sequence[str]:
        """How many there were, and which died."""
        return self._workers.remarks

    def measure(
        self, settings: LayerSettings, tasks: Iterator[LayerTask], layers: int, told: Told
    ) -> Finished:
        """Keep all of them at work; a layer whose workers die is one failure, by its name."""
        cells: dict[str, int] = {}

        def calls() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
            for task in tasks:
                group = task.reading.table.group
                cells[group] = len(task.constructions) * max(1, len(task.reading.signals))
                call = partial(settings.measure, replace(task, reading=_sendable(task.reading)))
                del task  # the next one is read while this name would still hold it
                yield group, call
                del call

        def on_result(group: str, layer: dict[str, Any] | GivenUp) -> None:
            # What was passed over is told by who takes the layer, as of the calling process.
            passed_over = not isinstance(layer, GivenUp) and layer["zero"] and not layer["cells"]
            told(0 if passed_over else cells[group], group)

        try:
            for group, layer in self._workers.results(calls(), layers, on_result):
                yield group, _failed(group, layer.reason) if isinstance(layer, GivenUp) else layer
        finally:
            self._workers.close()


def choose_measurement(
    workers: int | None,
    client: Any,  # Any: distributed's Client, of an optional and untyped library
    memory_budget: int | None,
    reader: LayerReader,
    tables: Mapping[str, NodeTable],
    constructions: Sequence[Construction],
) -> LayerWorkers:
    """Decide who measures, as `choose_workers` does by an estimate of the largest layer."""
    needs = {group: _bytes_of(reader, table) for group, table in tables.items()}
    sent = {repr(one.name): one for one in constructions}
    chosen = choose_workers(
        "compare", "Layers were measured", __name__, workers, client, memory_budget, needs, sent
    )
    return OwnMeasurement() if chosen is None else SentMeasurement(chosen)


def _bytes_of(reader: LayerReader, table: NodeTable) -> int:
    """Estimate what measuring a layer takes: what is read, sent and unpacked, and all its eigenvectors."""
    nodes, width = table.shape
    sent = reader.bytes_of(table) + 16 * nodes * width
    return 2 * sent + 16 * nodes * width + 8 * 8 * nodes * nodes


def _sendable(reading: LayerReading) -> LayerReading:
    """Write errors as ones that say the same and can be sent; not all can."""

    def told(value: Any) -> Any:  # Any: features or a signal, or an error
        return ValueError(described(value)) if isinstance(value, Exception) else value

    return replace(
        reading,
        features={name: told(features) for name, features in reading.features.items()},
        signals={seed: told(signal) for seed, signal in reading.signals.items()},
    )


def _failed(group: str, reason: str) -> dict[str, Any]:
    failure = {"layer": group, "construction": "*", "error": reason}
    return {
        "layer": group,
        "cells": [],
        "agreements": [],
        "failures": [failure],
        "drawings": [],
        "zero": False,
    }
