"""What one construction shows on one layer: the graph, its spectrum, and a signal in its bands beside the nulls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.cache import GraphCache
from paramgraph.comparison._evidence import (
    compaction_beside_nulls,
    energy_by_band,
    noise_by_band,
    noise_facts,
    permuted_noise,
    rewired_compaction,
    shift_of,
)
from paramgraph.comparison._layer_reading import Signal
from paramgraph.comparison._options import MeasurementOptions
from paramgraph.graphs import is_signed
from paramgraph.measures import (
    algebraic_connectivity,
    band_edges,
    band_modes,
    measured,
    permutation_p_value,
    permuted_energies,
    project_gradients,
    spectral_gap,
)
from paramgraph.spectra import ShiftOperator, Spectrum, eigenpairs

# What signal and noise of a layer are pooled from: the arguments of `jackknife_statistics`.
POOLED = ("low", "high", "modes", "energy_share", "signal", "noise", "left_signal", "left_noise")
QUANTILES = np.linspace(0, 1, 21)


@dataclass(frozen=True, eq=False)
class MeasuredConstruction:
    """Hold a graph, its spectrum, how many modes count as low, and the cell of numbers that a comparison keeps."""

    graph: Data
    spectrum: Spectrum
    low: int
    cell: dict[str, Any]


def measure_construction(
    graph: Data, signal: Signal, options: MeasurementOptions, seed: int, cache: GraphCache | None = None
) -> MeasuredConstruction:
    """Measure a graph and a signal on it, in O(nodes^3 + nodes^2 x width x batches) where all modes are computed.

    Where they are not, there are two bands, the computed modes and the rest, whose energy and noise are those of the
    whole less what the computed modes hold. In the cell's `evidence` is what is pooled over layers. The seed draws
    permutations, rewiring and the start of solvers.
    """
    operator = shift_of(graph, options.shift)
    count = options.count(operator.nodes)
    solve = eigenpairs if cache is None else cache.spectrum
    spectrum = solve(operator, k=count, seed=seed)
    shares = options.bands if spectrum.complete else (0.0, count / operator.nodes, 1.0)
    edges = band_edges(count, shares) if spectrum.complete else (0, count)
    low = min(max(1, round(options.share * operator.nodes)), count)
    permuted = "permuted" in options.nulls
    sums = signal.sums if permuted or "rotated" in options.nulls else None
    cell = _graph_facts(graph, operator, spectrum)
    cell |= energy_by_band(spectrum, signal.X, edges, permuted, sums)
    cell |= compaction_beside_nulls(spectrum, signal.X, low, options.nulls, sums)
    if "random" in options.nulls:
        cell["compaction_random"] = rewired_compaction(graph, signal.X, low, options.shift, seed)
    statistics = {}
    if signal.gradients is not None:
        projected = project_gradients(spectrum, signal.gradients)
        statistics["statistics"] = noise_by_band(projected, signal.gradients, spectrum, edges, shares)
        cell |= noise_facts(statistics["statistics"])
        if permuted:
            null = permuted_noise(spectrum, signal.gradients, edges, shares, seed)
            facts = noise_facts(null)
            cell |= {f"{name}_permuted": facts[name] for name in ("lift_low", "gain")}
            statistics["null_statistics"] = null
        if spectrum.complete:
            response = measured(spectrum, projected)
            cell["response"] = {"edges": list(response.edges), "gains": list(response.gains)}
    cell["evidence"] = {
        name: {key: getattr(found, key) for key in POOLED} for name, found in statistics.items()
    }
    return MeasuredConstruction(graph, spectrum, low, cell)


def add_p_values(
    cells: Mapping[str, dict[str, Any]],
    done: Mapping[str, MeasuredConstruction],
    X: Float[Tensor, "nodes width"],
    permutations: int,
    seed: int,
) -> None:
    """Test the energy in the low modes of constructions on one layer against permutations, the same ones for all.

    Each one's cell is given its `p_value`, and in its `evidence` the draws, which are pooled over layers.
    """
    bases = [band_modes(one.spectrum, 0, one.low) for one in done.values()]
    for name, draws in zip(done, permuted_energies(bases, X, permutations, seed), strict=True):
        cells[name]["p_value"] = permutation_p_value(cells[name]["compaction"], draws)
        cells[name]["evidence"]["draws"] = draws


def _graph_facts(graph: Data, operator: ShiftOperator, spectrum: Spectrum) -> dict[str, Any]:
    degrees = torch.bincount(graph.edge_index[0].cpu(), minlength=operator.nodes).double()
    signed = is_signed(graph)
    tensors = [graph.edge_index, graph.edge_weight, spectrum.eigenvectors, spectrum.eigenvalues]
    connected = operator.nodes > 1 and not signed
    gap_known = spectrum.complete or spectrum.modes > spectrum.first_varying
    facts = {
        "nodes": operator.nodes,
        "edges": graph.edge_index.shape[1] // 2,
        "components": operator.components,
        "isolated": int((degrees == 0).sum()),
        "degree_min": float(degrees.min()),
        "degree_median": float(degrees.median()),
        "degree_mean": float(degrees.mean()),
        "degree_max": float(degrees.max()),
        "shift": spectrum.kind,
        "solver": spectrum.solver,
        "modes": spectrum.modes,
        "spectral_gap": spectral_gap(spectrum) if gap_known and operator.nodes > 1 else None,
        "algebraic_connectivity": algebraic_connectivity(graph) if connected else None,
        "eigenvalues": None,
        "graph_megabytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6,
    }
    if spectrum.complete:
        facts["eigenvalues"] = np.quantile(spectrum.eigenvalues.numpy(), QUANTILES).tolist()
    return facts
