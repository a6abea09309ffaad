"""All constructions on one layer, and how far they agree."""

import time
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch_geometric.data import Data

from paramgraph.cache import GraphCache
from paramgraph.comparison._constructions import Construction
from paramgraph.comparison._layer_reading import LayerReading
from paramgraph.comparison._measurement import (
    MeasuredConstruction,
    add_p_values,
    measure_construction,
)
from paramgraph.comparison._options import MeasurementOptions
from paramgraph.comparison._store import plain
from paramgraph.construct import connect
from paramgraph.errors import one_line
from paramgraph.graphs import strongest_neighbourhood
from paramgraph.measures import (
    band_modes,
    edge_agreement,
    spectral_distance,
)
from paramgraph.nodes import NodeTable
from paramgraph.sources import SOURCES

DRAWN_NODES = 120


def compare_layer(
    reading: LayerReading,
    constructions: Sequence[Construction],
    signal_name: str,
    options: MeasurementOptions,
    seeds: Sequence[int],
    cache: GraphCache | None = None,
    draw: bool = False,
    on_cell: Callable[[str], None] = lambda what: None,
    pass_over_zero: bool = False,
) -> dict[str, Any]:
    """Measure every construction on one layer, and give plain values.

    A signal of zeros, such as the update of a matrix that an adapter does not touch, lies on no graph: `zero` says so,
    no graph is built from it, and with `pass_over_zero` nothing else is measured either.

    In each cell's `evidence` is what is pooled over layers. What a construction raises is listed in `failures`; the
    others go on. With `draw` a part of each graph is kept to be drawn; `on_cell` is told what was finished.
    """
    table = reading.table
    cells: list[dict[str, Any]] = []
    agreements: list[dict[str, Any]] = []
    failures: dict[tuple[str, str], dict[str, Any]] = {}
    drawings: list[dict[str, Any]] = []
    graphs: dict[str, list[Data]] = {one.name: [] for one in constructions}
    nothing = {"layer": table.group, "cells": [], "agreements": [], "failures": [], "drawings": []}
    try:
        zero = not any(bool(reading.signal(seed).X.any()) for seed in seeds)
    except Exception as error:  # without a signal there is nothing to measure on any graph of this layer
        failure = {"layer": table.group, "construction": "*", "error": described(error)}
        return nothing | {"failures": [failure], "zero": False}
    if zero:
        built = [one for one in constructions if not _is_circular(one, signal_name)]
        constructions = [] if pass_over_zero else built
    for seed in seeds:
        done: dict[str, MeasuredConstruction] = {}
        for construction in constructions:
            try:
                cell, measured = _cell(reading, construction, signal_name, options, seed, cache)
            except Exception as error:  # a builder of the user's may raise what it likes; the others go on
                failures.setdefault(
                    (construction.name, str(error)),
                    {"layer": table.group, "construction": construction.name, "error": described(error)},
                )
            else:
                done[construction.name] = measured
                graphs[construction.name].append(measured.graph)
                cells.append(cell)
                if draw and seed == seeds[0] and not _is_dense(measured.graph):
                    drawings.append(_drawing(table, construction, measured))
            on_cell(f"{construction.name}, {table.group}")
        if done and options.permutations and "permuted" in options.nulls:
            own = {cell["construction"]: cell for cell in cells if cell["seed"] == seed}
            add_p_values(own, done, reading.signal(seed).X, options.permutations, seed)
        agreements += [
            {"layer": table.group, "seed": seed, "first": first, "second": second}
            | _agreement(done[first], done[second])
            for first, second in combinations(done, 2)
        ]
    for cell in cells:
        cell["seed_stability"] = _stability(graphs[cell["construction"]])
    found = {
        "layer": table.group,
        "cells": cells,
        "agreements": agreements,
        "failures": list(failures.values()),
        "drawings": drawings,
        "zero": zero,
    }
    return {name: plain(value) for name, value in found.items()}


def _cell(
    reading: LayerReading,
    construction: Construction,
    signal_name: str,
    options: MeasurementOptions,
    seed: int,
    cache: GraphCache | None,
) -> tuple[dict[str, Any], MeasuredConstruction]:
    table = reading.table
    signal = reading.signal(seed)
    whole, first_half, second_half = reading.features_of(construction.features, seed)
    started = time.perf_counter()
    graph = connect(table, whole, construction.builder, cache)
    built = time.perf_counter() - started
    measured = measure_construction(graph, signal, options, seed, cache)
    seconds = time.perf_counter() - started
    cell: dict[str, Any] = {
        "layer": table.group,
        "depth": table.layer[0] if len(set(table.layer)) == 1 else -1,
        "role": table.role[0] if len(set(table.role)) == 1 else "",
        "scheme": table.scheme,
        "construction": construction.name,
        "builder": construction.builder_name,
        "source": construction.source_name,
        "seed": seed,
        "circular": _is_circular(construction, signal_name),
        **measured.cell,
        "edge_stability": None,
        "build_seconds": built,
        "seconds": seconds,
    }
    if construction.reads_features and first_half is not None and second_half is not None:
        halves = (first_half, second_half)
        first, second = (connect(table, half, construction.builder, cache) for half in halves)
        agreement = edge_agreement(first, second)
        if not _is_dense(graph):
            cell["edge_stability"] = agreement.jaccard
            cell["edge_stability_expected"] = agreement.expected_jaccard
        cell["weight_stability"] = agreement.ruzicka
    return cell, measured


def _is_circular(construction: Construction, signal_name: str) -> bool:
    """Say whether a graph is built from the signal itself: it always looks good."""
    same = construction.reads_features and construction.source == signal_name
    return same and SOURCES[signal_name].from_checkpoint


def _agreement(first: MeasuredConstruction, second: MeasuredConstruction) -> dict[str, Any]:
    found: dict[str, Any] = {"jaccard": None, "expected_jaccard": None, "spectral_distance": None}
    if not _is_dense(first.graph) and not _is_dense(second.graph):  # all pairs are edges: nothing to agree on
        edges = edge_agreement(first.graph, second.graph)
        found |= {"jaccard": edges.jaccard, "expected_jaccard": edges.expected_jaccard}
    # As `subspace_alignment`, for bases that are orthonormal already; equal eigenvalues that k cuts through are there
    # in part.
    low = min(first.low, second.low)
    product = band_modes(first.spectrum, 0, low).T @ band_modes(second.spectrum, 0, low)
    found["alignment"] = float(product.square().sum()) / low
    found["expected_alignment"] = low / first.spectrum.nodes
    if first.spectrum.kind == second.spectrum.kind and first.spectrum.complete and second.spectrum.complete:
        found["spectral_distance"] = spectral_distance(first.spectrum, second.spectrum)
    return found


def _stability(graphs: Sequence[Data]) -> float | None:
    """Mean Jaccard index of the graphs of all pairs of seeds; None of dense graphs, which have all edges."""
    if any(_is_dense(graph) for graph in graphs):
        return None
    pairs = [edge_agreement(first, second).jaccard for first, second in combinations(graphs, 2)]
    return sum(pairs) / len(pairs) if pairs else None


def _is_dense(graph: Data) -> bool:
    nodes = int(graph.num_nodes or 0)
    return bool(4 * graph.edge_index.shape[1] > nodes * nodes)


def _drawing(table: NodeTable, construction: Construction, measured: MeasuredConstruction) -> dict[str, Any]:
    """Keep the strongest part of a graph, with the first eigenvector that is not constant on components."""
    chosen = torch.from_numpy(strongest_neighbourhood(measured.graph, DRAWN_NODES))
    place = torch.full((int(measured.graph.num_nodes or 0),), -1, dtype=torch.int64)
    place[chosen] = torch.arange(len(chosen))
    ends = place[measured.graph.edge_index.cpu()]
    kept = (ends >= 0).all(dim=0) & (ends[0] < ends[1])
    spectrum = measured.spectrum
    mode = min(spectrum.first_varying, spectrum.modes - 1)
    return {
        "layer": table.group,
        "construction": construction.name,
        "nodes": len(chosen),
        "of_nodes": int(measured.graph.num_nodes or 0),
        "edge_index": ends[:, kept].tolist(),
        "edge_weight": measured.graph.edge_weight.cpu()[kept].tolist(),
        "values": spectrum.eigenvectors[chosen, mode].tolist(),
    }


def described(error: Exception) -> str:
    """Say what went wrong in one line, with the error's type where that is no plain refusal."""
    return one_line(error, typed=not isinstance(error, ValueError | KeyError))
