"""How many batches a filter is worth."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from paramgraph.measures.band_statistics import BandStatistics, jackknife_error


@dataclass(frozen=True)
class BatchGain:
    """Hold a gain in effective batch size.

    Parameters
    ----------
    gain : float
        1 where the filter does not help; NaN where the signal is too weak to tell.
    low, high : float
        Interval of 95 % by the jackknife over batches.
    """

    gain: float
    low: float
    high: float


def effective_batch_gain(
    statistics: BandStatistics, gains: Any = None, batches_averaged: Any = 1
) -> BatchGain:
    r"""Measure how many times larger an unfiltered batch would have to be to point as well.

    With signal S_b and noise N_b in band b, S and N their sums and gains h_b, the filtered gradient of m batches and
    the expected gradient have the squared cosine

    .. math:: c^2 = \frac{(\sum_b h_b S_b)^2}{S \sum_b h_b^2 (S_b + N_b / m)}, \qquad
        \mathrm{gain} = \frac{c^2}{1 - c^2} \bigg/ \frac{S}{N / m},

    the signal-to-noise ratio after over that before. The same number is the ratio of batch sizes at which the mean
    squared errors are equal, each gradient with its best step size: shrinking all bands alike gains nothing. For the
    Wiener gains h = S / (S + N / m), the default (clipped to [0, 1]), it is
    :math:`\frac{N}{m} (1 / M - 1 / S)` with :math:`M = \sum_b S_b (N_b / m) / (S_b + N_b / m)`, at least 1, and 1
    exactly where all bands have the same ratio.

    What it cannot tell: whether training gains. Default gains come from the same batches, which flatters them, by
    more the fewer batches and the more bands there are: take gains from other batches for an honest number. Noise that
    momentum averages away is gained twice without `batches_averaged`, and the noise of a small training sample
    itself, which all batches share, is signal here.

    Parameters
    ----------
    statistics : BandStatistics
        Of one matrix, or pooled.
    gains : sequence of float, optional
        One for each band, low graph frequency first, as the statistics.
    batches_averaged : float, default 1
        m: number of batches that are averaged before or after the filter.

    Returns
    -------
    BatchGain
        NaN where the estimates leave no signal in all bands together, or no error after the filter.

    Raises
    ------
    ValueError
        If there is not one finite gain for each band, or `batches_averaged` is below 1.

    Examples
    --------
    >>> from paramgraph.measures import jackknife_statistics
    >>> one, left = np.array([3.0, 0.0]), np.ones((2, 4))
    >>> found = jackknife_statistics(0 * one, one, np.array([4, 4]), one, one, 1 + 0 * one, one[:, None] * left, left)
    >>> round(effective_batch_gain(found).gain, 6)  # all signal in half of the noise
    2.0
    """
    if not (math.isfinite(batches_averaged) and batches_averaged >= 1):
        raise ValueError(f"batches_averaged is a number of batches, 1 or larger; got {batches_averaged}")
    fixed = None if gains is None else np.array([float(gain) for gain in gains])
    if fixed is not None and (fixed.shape != statistics.signal.shape or not np.isfinite(fixed).all()):
        raise ValueError(
            f"one finite gain is needed for each of {len(statistics.signal)} bands, got {fixed.tolist()}"
        )
    noise, left_noise = statistics.noise / batches_averaged, statistics.left_noise / batches_averaged
    gain = _gain(statistics.signal[:, None], noise[:, None], fixed)
    _, reach = jackknife_error(_gain(statistics.left_signal, left_noise, fixed)[None])
    return BatchGain(float(gain[0]), float(gain[0] - reach[0]), float(gain[0] + reach[0]))


def _gain(signal: Any, noise: Any, gains: Any) -> Any:
    """Compute the gain for each column of (bands, batches)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wiener = np.where(signal > 0, np.clip(signal / (signal + noise), 0.0, 1.0), 0.0)
        h = wiener if gains is None else gains[:, None]
        total = signal.sum(axis=0)
        square = (h * signal).sum(axis=0) ** 2 / (total * (h**2 * (signal + noise)).sum(axis=0))
        found = square / (1 - square) * noise.sum(axis=0) / total
    return np.where((total > 0) & (square < 1), found, np.nan)
