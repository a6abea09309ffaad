"""The layers of a comparison, in their order: read together where that saves passes, kept as they are finished."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from paramgraph.comparison._constructions import Construction
from paramgraph.comparison._contents import Contents
from paramgraph.comparison._layer_reading import LayerReader
from paramgraph.comparison._layer_workers import LayerSettings, LayerTask, LayerWorkers
from paramgraph.comparison._store import ComparisonStore
from paramgraph.display import progress_bar
from paramgraph.errors import UnknownNameError
from paramgraph.nodes import NodeTable

# Gradients and features of layers that share passes over the batches; a layer that needs more goes alone.
READ_TOGETHER = 1_500_000_000


def choose_tables(tables: dict[str, NodeTable], layers: Collection[str] | None) -> dict[str, NodeTable]:
    """Pick the tables that are to be measured, all by default, in the model's order.

    What is no collection of names is a TypeError, an unknown one an UnknownNameError.
    """
    if layers is None:
        return tables
    if isinstance(layers, str) or not isinstance(layers, Collection) or not layers:
        raise TypeError(f"layers is a list of names of tables, or None for all; got {layers!r}")
    for layer in layers:
        if layer not in tables:
            raise UnknownNameError.among("layer", layer, tables)
    return {group: table for group, table in tables.items() if group in layers}


def compare_layers(
    reader: LayerReader,
    tables: Mapping[str, NodeTable],
    buildable: Mapping[str, Sequence[Construction]],
    settings: LayerSettings,
    workers: LayerWorkers,
    kept: tuple[ComparisonStore, Contents] | None,
    *,
    progress: bool,
) -> list[dict[str, Any]]:
    """Measure the layers that are not finished, and return all as `compare_layer` makes them, in the model's order.

    The layer that is best to be drawn has drawings, of those that come before it some do. Layers of which the signal is
    zero are passed over once another is known to have some.

    Those that are `kept` on disk are finished where they come from the same contents and nothing failed in them.
    """
    finished: dict[str, dict[str, Any]] = {}
    if kept:
        store, contents = kept
        found = {group: store.find(group, contents.of(table)) for group, table in tables.items()}
        finished = {group: layer for group, layer in found.items() if layer is not None}
    known = [tables[group] for group, layer in finished.items() if not layer["zero"] and layer["cells"]]
    best = min((worth_drawing(table) for table in known), default=None)
    todo = {group: table for group, table in tables.items() if group not in finished and buildable[group]}
    total = sum(len(buildable[group]) for group in todo) * len(settings.seeds)
    if not todo:
        return [finished[group] for group in tables if group in finished]
    with progress_bar(total, shown=progress) as advance:

        def tasks() -> Iterator[LayerTask]:
            for part in _chunks(todo, reader):
                advance(0, f"reading {len(part)} layers" if reader.runs else "reading")
                for reading in reader.read(part):
                    is_best = best is None or worth_drawing(reading.table) < best
                    yield LayerTask(reading, buildable[reading.table.group], is_best, best is not None)
                    del reading  # the next one is read while this name would still hold it

        for group, layer in workers.measure(settings, tasks(), len(todo), advance):
            worth = worth_drawing(tables[group])
            if layer["zero"]:
                advance(0 if layer["cells"] else len(buildable[group]) * len(settings.seeds), group)
            # Several workers have begun it before those before it were known.
            if best is not None and layer["zero"]:
                layer |= {"cells": [], "agreements": [], "failures": [], "drawings": []}
            if best is not None and worth >= best:
                layer |= {"drawings": []}
            if layer["cells"] and not layer["zero"]:
                best = worth if best is None else min(best, worth)
            finished[group] = layer
            if kept:
                store.append(layer, contents.of(tables[group]))
    return [finished[group] for group in tables if group in finished]


def worth_drawing(table: NodeTable) -> tuple[bool, int]:
    """Rank a layer as a picture, the best first."""
    # Of few nodes the ten nearest are nearly all, which is no picture; of many only a part is drawn.
    return table.shape[0] < 64, table.shape[0]


def _chunks(tables: Mapping[str, NodeTable], reader: LayerReader) -> Iterator[dict[str, NodeTable]]:
    """Put layers together that share passes over the batches, as many as fit the memory that is allowed."""
    part: dict[str, NodeTable] = {}
    held = 0
    for group, table in tables.items():
        size = reader.bytes_of(table)
        if part and (held + size > READ_TOGETHER or not reader.runs):
            yield part
            part, held = {}, 0
        part[group] = table
        held += size
    if part:
        yield part
