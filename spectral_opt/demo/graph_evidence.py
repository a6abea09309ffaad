"""Which graph of the parameters carries the gradient? Constructions side by side, judged as `paramgraph.compare` does.

`compare` itself knows one set of building batches, draws their order, and keeps six digits; here two sets build (with
labels, and with drawn ones), in the order given, so that a record can be made again to the last digit.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from paramgraph import connect, get_builder
from paramgraph.comparison import (
    MeasurementOptions,
    Signal,
    add_p_values,
    carries,
    measure_construction,
    plain,
    summarize,
    verdict,
)
from paramgraph.graphs import list_nulls
from paramgraph.measures import (
    band_lift,
    band_modes,
    jackknife_statistics,
    permuted_signal_and_noise,
    pool_bands,
)
from paramgraph.nodes import NodeTable
from paramgraph.sources import collect
from spectral_opt.preparation import UNREACHED

# All modes, however many nodes, so that every matrix has the same five bands and can be pooled.
MEASURED = MeasurementOptions(nulls=("permuted",), permutations=0, modes=2**31)
Features = Mapping[tuple[str, str], Mapping[str, Float[Tensor, "_ _"]]]


@dataclass(frozen=True)
class Construction:
    """A way to make a graph: a registered builder with its options, a source, and the batches that the source sees."""

    name: str
    builder: str
    source: str
    batches: str = "labelled"
    options: tuple[tuple[str, Any], ...] = ()  # Any: what the builder takes

    @property
    def is_null(self) -> bool:
        """Whether it is a control, which knows nothing of the model."""
        return self.builder in list_nulls()


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


def collect_features(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    building: Mapping[str, Sequence[Mapping[str, Tensor]]],
    on_failure: Callable[[str, str], None] | None = None,
) -> dict[tuple[str, str], dict[str, Tensor]]:
    """Collect what all constructions are built from, by source and batches; `on_failure` as in `collect`."""
    keys = dict.fromkeys((one.source, one.batches) for one in CONSTRUCTIONS)
    return {
        (source, batches): collect(model, tables, source, batches=building[batches], on_failure=on_failure)
        for source, batches in keys
    }


def measure_table(
    table: NodeTable,
    features: Features,
    gradients: Float[Tensor, "batches nodes width"],
    permutations: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Measure all constructions on one matrix: a cell of plain values each, as `summarize` takes them.

    The gradients come from other batches than the graphs, so a graph of gradients cannot profit from the noise it was
    built on. Beside them stand what permuted nodes give, in `permutations` draws for the energy, and for signal and
    noise. Time O(nodes^3 + batches nodes^2 width + permutations nodes^2) for each construction.

    ValueError says why there is nothing to be measured: gradients that are zero, or the same in all batches.
    """
    if not gradients.any():
        raise ValueError(UNREACHED)
    if bool((gradients == gradients[0]).all()):
        raise ValueError("its gradients are the same in all batches, so no noise is known")
    signal = Signal(gradients.double().mean(dim=0), list(gradients))
    cells, done = {}, {}
    for construction in CONSTRUCTIONS:
        started = time.perf_counter()
        graph = build_graph(
            construction, table, features[construction.source, construction.batches][table.group]
        )
        built = time.perf_counter() - started
        done[construction.name] = measure_construction(graph, signal, MEASURED, seed)
        cells[construction.name] = {
            "layer": table.group,
            "construction": construction.name,
            "seed": seed,
            "circular": False,
            **done[construction.name].cell,
            "build_seconds": built,
            "seconds": time.perf_counter() - started,
        }
    add_p_values(cells, done, signal.X, permutations, seed)
    bases = [band_modes(one.spectrum, 0, one.low) for one in done.values()]
    drawn = permuted_signal_and_noise(bases, gradients, permutations, seed)
    for cell, signals, noises in zip(cells.values(), *drawn, strict=True):
        cell["evidence"]["permuted"] = {"signal": signals, "noise": noises}
    found: list[dict[str, Any]] = plain(list(cells.values()), digits=None)
    return found


def pool_evidence(cells: Sequence[Mapping[str, Any]], permutations: int) -> tuple[list[dict[str, Any]], str]:
    """Pool cells over matrices: plain facts of each construction, and in one sentence which of them carries anything.

    A construction carries the gradient by the rule of `paramgraph.compare`. Its lift stands beside that on permuted
    nodes: the mean of all permutations, and where the middle 95 % of them lie.
    """
    constructions = [{**asdict(one), "null": one.is_null} for one in CONSTRUCTIONS]
    rows = summarize(constructions, cells)
    found = []
    for construction, row in zip(constructions, rows, strict=True):
        own = [cell for cell in cells if cell["construction"] == construction["name"]]
        bands = pool_bands([_statistics(cell) for cell in own])
        lift = band_lift(bands)
        # Where noise leaves no signal in the whole spectrum, a ratio to it would be one of two errors.
        known = bands.signal.sum() > 0
        lifts = {"lift": lift.lift, "lift_low": lift.low, "lift_high": lift.high}
        middle = _permuted_lifts(own, float(bands.signal.sum())) if known else {}
        row["lift_low_permuted"] = middle.get("mean")
        names = ("low", "high", "snr", "snr_low", "snr_high", "energy_share")
        found.append(
            {
                **construction,
                "matrices": len(own),
                **{name: row[name] for name in ("nodes", "edges", "components", "seconds")},
                "compaction": row["compaction"],
                "compaction_permuted": row["compaction_permuted"],
                "p_value": row["p_value"],
                "p_holm": row["p_holm"],
                "carries": carries(row),
                "bands": {
                    **{name: _numbers(getattr(bands, name)) for name in names},
                    **{
                        name: _numbers(values) if known else [None] * len(values)
                        for name, values in lifts.items()
                    },
                },
                "permuted_energy": row["null_energy"],
                "permuted_lift": middle,
            }
        )
    setting = {"signal": "gradients", "share": MEASURED.share, "permutations": permutations}
    return found, verdict(setting, rows)


def _statistics(cell: Mapping[str, Any]) -> Any:  # BandStatistics
    arrays = {name: np.array(value, dtype=float) for name, value in cell["evidence"]["statistics"].items()}
    return jackknife_statistics(**{**arrays, "modes": arrays["modes"].astype(np.int64)})


def _permuted_lifts(cells: Sequence[Mapping[str, Any]], signal: float) -> dict[str, float]:
    """Pool the draws as `pool_bands` pools matrices: every one in units of its whole noise."""
    signals, noises = (
        np.sum([cell["evidence"]["permuted"][name] for cell in cells], axis=0) for name in ("signal", "noise")
    )
    lifts = (signals / noises) / (signal / len(cells))
    low, high = np.quantile(lifts, [0.025, 0.975])
    return {"mean": float(lifts.mean()), "low": float(low), "high": float(high)}


def _numbers(values: Float[np.ndarray, " bands"]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
