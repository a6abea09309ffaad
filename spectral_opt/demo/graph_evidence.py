"""Which graph of the parameters carries the gradient? Constructions side by side, each with its null."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from paramgraph.construct import connect
from paramgraph.graphs import get_builder
from paramgraph.measures import BandStatistics, pool_bands, signal_to_noise
from paramgraph.nodes import NodeTable
from paramgraph.sources import collect
from paramgraph.spectra import adjacency, eigenpairs, laplacian

FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Construction:
    """A way to make a graph.

    Parameters
    ----------
    name : str
        What tables and figures call it.
    builder : str
        A registered builder.
    source : str
        What the features of the nodes are.
    batches : str, default "labelled"
        Which set of building batches the source sees.
    options : tuple of pairs
        Options of the builder.
    """

    name: str
    builder: str
    source: str
    batches: str = "labelled"
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What one construction shows, pooled over matrices.

    Parameters
    ----------
    construction : Construction
        What was built.
    bands, null_bands : BandStatistics
        Signal-to-noise ratio and share of energy by fifth of the spectrum, low to high frequency; the null has the
        same graph on permuted nodes.
    nodes, edges, components : int
        Sums over matrices; each undirected edge counts once.
    seconds : float
        Time to build, decompose and measure, without the null.
    """

    construction: Construction
    bands: BandStatistics
    null_bands: BandStatistics
    nodes: int
    edges: int
    components: int
    seconds: float


CONSTRUCTIONS = (
    Construction("cosine of weights", "cosine_knn", "weights", options=(("k", 10),)),
    Construction("correlation of activations", "correlation", "activations", options=(("k", 10),)),
    Construction("cosine of gradients", "cosine_knn", "batch_gradients", options=(("k", 10),)),
    Construction("cosine of gradients, drawn labels", "cosine_knn", "batch_gradients", "drawn", (("k", 10),)),
    Construction("Gram of gradients, drawn labels", "gram", "batch_gradients", "drawn"),
    Construction("ring of indices", "ring", "weights"),
)


def build_graph(
    construction: Construction, table: NodeTable, features: Float[Tensor, "nodes features"]
) -> Data:
    """Build the graph of one matrix."""
    return connect(table, features, get_builder(construction.builder, **dict(construction.options)))


def measure_constructions(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    building: Mapping[str, Sequence[Mapping[str, Tensor]]],
    gradients: Mapping[str, Tensor],
    *,
    constructions: Sequence[Construction] = CONSTRUCTIONS,
    seed: int = 0,
    on_table: Callable[[], None] | None = None,
) -> Iterator[Evidence]:
    """Measure how much of the gradient each construction gathers in its low frequencies.

    The graphs are built from `building`; the gradients come from other batches, so a graph of gradients
    cannot profit from the noise it was built on.

    Parameters
    ----------
    model : Module
        The model at the point where the gradients were taken.
    tables : dict of NodeTable
        The matrices to look at.
    building : dict of sequences of batches
        Named sets of batches for the sources; each construction names its set.
    gradients : dict of tensors of shape (batches, nodes, width)
        Gradients of single batches that no graph was built from.
    constructions : sequence of Construction
        What to compare.
    seed : int, default 0
        Seed of the null's permutation.
    on_table : callable, optional
        Called after each matrix, for a progress bar.

    Yields
    ------
    Evidence
        One for each construction, as soon as it is finished.

    Notes
    -----
    Time O(nodes^3 + batches nodes^2 width) for each matrix and construction; one matrix's spectrum in memory.
    """
    features: dict[tuple[str, str], dict[str, Tensor]] = {}
    for construction in constructions:
        started = time.perf_counter()
        key = (construction.source, construction.batches)
        if key not in features:
            features[key] = collect(
                model, tables, construction.source, batches=building[construction.batches]
            )
        measured, null, graphs, seconds = [], [], [], time.perf_counter() - started
        for group, table in tables.items():
            started = time.perf_counter()
            graph = build_graph(construction, table, features[key][group])
            shift = adjacency(graph) if construction.builder == "gram" else laplacian(graph)
            spectrum = eigenpairs(shift)
            measured.append(signal_to_noise(spectrum, gradients[group], FIFTHS))
            seconds += time.perf_counter() - started
            # Permuting the graph's nodes or the signal's is the same experiment; this one needs no second spectrum.
            order = torch.randperm(table.shape[0], generator=torch.Generator().manual_seed(seed))
            null.append(signal_to_noise(spectrum, gradients[group][:, order], FIFTHS))
            graphs.append((table.shape[0], graph.edge_index.shape[1] // 2, spectrum.components))
            if on_table is not None:
                on_table()
        nodes, edges, components = (sum(column) for column in zip(*graphs, strict=True))
        yield Evidence(
            construction, pool_bands(measured), pool_bands(null), nodes, edges, components, seconds
        )
