"""Which graph of the parameters carries the gradient? Constructions side by side, each with its null."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from paramgraph import connect, get_builder
from paramgraph.comparison import MeasurementOptions, Signal, measure_construction
from paramgraph.measures import BandStatistics, jackknife_statistics, pool_bands
from paramgraph.nodes import NodeTable
from paramgraph.sources import collect

# All modes, however many nodes, so that every matrix has the same five bands and can be pooled.
MEASURED = MeasurementOptions(nulls=("permuted",), permutations=0, modes=2**31)


@dataclass(frozen=True)
class Construction:
    """A way to make a graph: a registered builder with its options, a source, and the batches that the source sees."""

    name: str
    builder: str
    source: str
    batches: str = "labelled"
    options: tuple[tuple[str, Any], ...] = ()  # Any: what the builder takes


@dataclass(frozen=True)
class Evidence:
    """What one construction shows, pooled over matrices: signal and noise by fifth of the spectrum, low to high.

    The null has the same graph on permuted nodes. Nodes, edges (each once) and components are sums over matrices;
    seconds are those to build, decompose and measure, the null included.
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
    gradients: Mapping[str, Float[Tensor, "batches nodes width"]],
    *,
    seed: int = 0,
    on_table: Callable[[], None] | None = None,
) -> Iterator[Evidence]:
    """Measure how much of the gradient each construction gathers in its low frequencies, one construction at a time.

    A graph is measured as `paramgraph.compare` measures it. `compare` itself knows one set of building batches, draws
    their order, and keeps six digits; here two sets build (with labels, and with drawn ones), in the order given, so
    that a record can be made again to the last digit. The gradients come from other batches, so a graph of
    gradients cannot profit from the noise it was built on. Time O(nodes^3 + batches nodes^2 width) for each matrix
    and construction; one matrix's spectrum in memory.
    """
    signals = {
        group: Signal(stacked.double().mean(dim=0), list(stacked)) for group, stacked in gradients.items()
    }
    features: dict[tuple[str, str], dict[str, Tensor]] = {}
    for construction in CONSTRUCTIONS:
        started = time.perf_counter()
        key = (construction.source, construction.batches)
        if key not in features:
            features[key] = collect(
                model, tables, construction.source, batches=building[construction.batches]
            )
        found = []
        for group, table in tables.items():
            graph = build_graph(construction, table, features[key][group])
            found.append(measure_construction(graph, signals[group], MEASURED, seed))
            if on_table is not None:
                on_table()
        nodes, edges, components = (
            sum(one.cell[name] for one in found) for name in ("nodes", "edges", "components")
        )
        bands, null_bands = (
            pool_bands([jackknife_statistics(**one.cell["evidence"][kind]) for one in found])
            for kind in ("statistics", "null_statistics")
        )
        yield Evidence(
            construction,
            bands,
            null_bands,
            nodes,
            edges,
            components,
            time.perf_counter() - started,
        )
