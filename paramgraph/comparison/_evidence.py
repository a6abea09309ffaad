"""What a signal shows on a spectrum: where its energy lies and how much of it is noise, beside what nulls would give.

`edges` are modes: band b holds those from entry b up to, but not with, entry b + 1. Where not all modes of a spectrum
are known, one more band holds what they leave.
"""

import math
import warnings
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.builders import RandomRewired
from paramgraph.errors import NumericalWarning
from paramgraph.graphs import is_signed
from paramgraph.measures import (
    BandStatistics,
    GramSums,
    ProjectedGradients,
    band_lift,
    band_modes,
    effective_batch_gain,
    mode_energy,
    permuted_moments,
    project_gradients,
    projected_statistics,
    rotated_moments,
)
from paramgraph.spectra import ShiftOperator, Spectrum, adjacency, eigenpairs, laplacian


def shift_of(graph: Data, shift: str) -> ShiftOperator:
    """Take the operator whose spectrum is that of a graph.

    "auto" is the symmetric normalized Laplacian, or the adjacency where weights are signed; else the one that is named.
    """
    signed = is_signed(graph)
    if shift == "adjacency" or (shift == "auto" and signed):
        return adjacency(graph)
    return laplacian(graph, signed=True if signed else None)


def energy_by_band(
    spectrum: Spectrum,
    X: Float[Tensor, "nodes width"],
    edges: Sequence[int],
    permuted: bool,
    sums: GramSums | None = None,
) -> dict[str, Any]:
    """Measure the share of a signal's energy in each band, with its mean and deviation under permutation if asked."""
    whole = float(X.square().sum())
    modes = mode_energy(spectrum, X)
    bands = [(low, high) for low, high in pairwise(edges)]
    energy = [float(modes[low:high].sum()) / whole if whole > 0 else math.nan for low, high in bands]
    if not spectrum.complete:
        energy.append(1 - sum(energy))
    found: dict[str, Any] = {"energy": energy, "energy_low": energy[0], "energy_high": energy[-1]}
    if permuted:
        nulls = [permuted_moments(band_modes(spectrum, low, high), X, sums) for low, high in bands]
        means, deviations = [null.mean for null in nulls], [null.deviation for null in nulls]
        if not spectrum.complete:  # one band and its rest: what one gains the other loses
            means, deviations = [*means, 1 - sum(means)], [*deviations, *deviations]
        found |= {"null_energy": means, "null_energy_sd": deviations}
    return found


def compaction_beside_nulls(
    spectrum: Spectrum,
    X: Float[Tensor, "nodes width"],
    low: int,
    nulls: Collection[str],
    sums: GramSums | None = None,
) -> dict[str, Any]:
    """Measure the energy in the `low` lowest modes, with mean, deviation and z-score under "permuted" and "rotated"."""
    basis = band_modes(spectrum, 0, low)
    energy = _energy_share(basis, X)
    found: dict[str, Any] = {"compaction": energy, "compaction_share": low / spectrum.nodes}
    if "permuted" in nulls:
        null = permuted_moments(basis, X, sums)
        found |= {
            "compaction_permuted": null.mean,
            "compaction_permuted_sd": null.deviation,
            "z_score": null.z_score(energy),
        }
    if "rotated" in nulls:
        null = rotated_moments(basis, X, sums)
        found |= {"compaction_rotated": null.mean, "z_rotated": null.z_score(energy)}
    return found


def rewired_compaction(
    graph: Data, X: Float[Tensor, "nodes width"], low: int, shift: str, seed: int
) -> float | None:
    """Measure the energy in the lowest modes of a random graph of the same degrees.

    None where degrees leave no choice: the complete graph, a star, no edges.
    """
    nodes, pairs = graph.num_nodes or 0, graph.edge_index.shape[1] // 2
    if not pairs or 2 * pairs == nodes * (nodes - 1):
        return None
    with warnings.catch_warnings():
        # It says that nothing was rewired; that is what None says here.
        warnings.simplefilter("ignore", NumericalWarning)
        rewired = RandomRewired(lambda data: data, seed=seed)(graph)
    if rewired.rewired_share == 0.0:
        return None
    return _energy_share(eigenpairs(shift_of(rewired, shift), k=low, seed=seed).eigenvectors, X)


def noise_by_band(
    projected: ProjectedGradients,
    gradients: Sequence[Tensor],
    spectrum: Spectrum,
    edges: Sequence[int],
    shares: Sequence[float],
) -> BandStatistics:
    """Estimate signal and noise of the batches' gradients in each band; `shares` of the nodes say where bands lie."""
    if spectrum.complete:
        return projected_statistics(projected, edges, shares)
    return projected_statistics(_with_rest(projected, gradients), (*edges, edges[-1] + 1), shares)


def permuted_noise(
    spectrum: Spectrum, gradients: Sequence[Tensor], edges: Sequence[int], shares: Sequence[float], seed: int
) -> BandStatistics:
    """Estimate the same with the nodes of the signal permuted once: as good as permuting the graph, at one spectrum."""
    order = torch.randperm(len(gradients[0]), generator=torch.Generator().manual_seed(seed))
    shuffled = [gradient[order] for gradient in gradients]
    return noise_by_band(project_gradients(spectrum, shuffled), shuffled, spectrum, edges, shares)


def noise_facts(statistics: BandStatistics) -> dict[str, Any]:
    """List ratios, lift and gain, with their intervals, in plain numbers."""
    lift, gain = band_lift(statistics), effective_batch_gain(statistics)
    # Where noise leaves no signal in the whole spectrum, a ratio to it would be one of two errors.
    known = statistics.signal.sum() > 0
    return {
        "snr": statistics.snr.tolist(),
        "snr_interval_low": statistics.snr_low.tolist(),
        "snr_interval_high": statistics.snr_high.tolist(),
        "snr_low": float(statistics.snr[0]),
        "snr_high": float(statistics.snr[-1]),
        "lift_low": float(lift.lift[0]) if known else None,
        "lift_low_interval": [float(lift.low[0]), float(lift.high[0])] if known else None,
        "gain": gain.gain,
        "gain_interval": [gain.low, gain.high],
    }


def _energy_share(basis: Float[Tensor, "nodes modes"], X: Float[Tensor, "nodes width"]) -> float:
    whole = float(X.square().sum())
    return float((basis.T @ X).square().sum()) / whole if whole > 0 else math.nan


def _with_rest(projected: ProjectedGradients, gradients: Sequence[Tensor]) -> ProjectedGradients:
    """Add what the computed modes leave of each product as one more mode."""
    mean = torch.zeros_like(gradients[0], dtype=torch.float64)
    for gradient in gradients:
        mean += gradient.double()
    mean /= len(gradients)
    with_mean = [float((mean * gradient.double()).sum()) for gradient in gradients]
    energy = [float(gradient.double().square().sum()) for gradient in gradients]
    return ProjectedGradients(
        np.append(projected.mean_energy, float(mean.square().sum()) - projected.mean_energy.sum()),
        np.vstack([projected.with_mean, np.array(with_mean) - projected.with_mean.sum(axis=0)]),
        np.vstack([projected.energy, np.array(energy) - projected.energy.sum(axis=0)]),
    )
