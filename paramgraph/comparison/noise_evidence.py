"""Signal against noise of gradients in the bands of a spectrum, beside permuted nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paramgraph.measures import (
    BandStatistics,
    ProjectedGradients,
    band_lift,
    effective_batch_gain,
    project_gradients,
    projected_statistics,
)
from paramgraph.spectra import Spectrum


def noise_by_band(
    projected: ProjectedGradients,
    gradients: Sequence[Tensor],
    spectrum: Spectrum,
    edges: Sequence[int],
    shares: Sequence[float],
) -> BandStatistics:
    """Estimate signal and noise in each band; where not all modes are known, one more band holds what they leave.

    Parameters
    ----------
    projected : ProjectedGradients
        The gradients on the spectrum.
    gradients : sequence of Tensor of shape (nodes, width)
        Of the single batches.
    spectrum : Spectrum
        Of a symmetric operator.
    edges : sequence of int
        Band b holds the modes from entry b up to, but not with, entry b + 1.
    shares : sequence of float
        Where bands begin and end as shares of the nodes.

    Returns
    -------
    BandStatistics
        Of one band for each pair of neighbours in `shares`.
    """
    if spectrum.complete:
        return projected_statistics(projected, edges, shares)
    return projected_statistics(_with_rest(projected, gradients), (*edges, edges[-1] + 1), shares)


def noise_facts(statistics: BandStatistics) -> dict[str, Any]:
    """List ratios, lift and gain in plain numbers.

    Parameters
    ----------
    statistics : BandStatistics
        Of one layer, or pooled.

    Returns
    -------
    dict
        `snr` by band with its interval, `lift_low` and `gain` with theirs; no lift where the estimates leave no signal
        in all bands together.
    """
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


def permuted_noise(
    spectrum: Spectrum, gradients: Sequence[Tensor], edges: Sequence[int], shares: Sequence[float], seed: int
) -> BandStatistics:
    """Estimate signal and noise in each band with the nodes of the signal permuted once.

    That is as good as permuting the graph, and needs no second spectrum.

    Parameters
    ----------
    spectrum : Spectrum
        Of the graph as it is.
    gradients : sequence of Tensor of shape (nodes, width)
        Of the single batches.
    edges, shares : sequence
        As in `noise_by_band`.
    seed : int
        Of the permutation.

    Returns
    -------
    BandStatistics
        As `noise_by_band`.
    """
    order = torch.randperm(len(gradients[0]), generator=torch.Generator().manual_seed(seed))
    shuffled = [gradient[order] for gradient in gradients]
    return noise_by_band(project_gradients(spectrum, shuffled), shuffled, spectrum, edges, shares)


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
