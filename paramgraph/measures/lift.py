"""What the bands of a spectrum are worth: their lift over the whole, and the batches that a filter saves."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paramgraph.measures.band_statistics import BandStatistics, check_averaged, jackknife_error


@dataclass(frozen=True, eq=False)
class BandLift:
    """Hold the lift of each band, low graph frequency first.

    Parameters
    ----------
    lift : ndarray of shape (bands,)
        1 where a band is no better than the whole spectrum.
    low, high : ndarray of shape (bands,)
        Interval of 95 % by the jackknife over batches.
    """

    lift: Float[np.ndarray, " bands"]
    low: Float[np.ndarray, " bands"]
    high: Float[np.ndarray, " bands"]


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


def band_lift(statistics: BandStatistics) -> BandLift:
    r"""Compare each band's signal-to-noise ratio with that of all bands together.

    .. math:: \mathrm{lift}_b = \frac{S_b / N_b}{\sum_c S_c / \sum_c N_c}

    The gradient of one batch can be many times that of another, and then the ratios of all bands rise and fall
    together: their own intervals are wide, that of the lift is not. A graph that knows nothing of the gradient
    has a lift of 1 in every band. What a lift cannot tell: how large the signal is.

    Parameters
    ----------
    statistics : BandStatistics
        Of one matrix, or pooled.

    Returns
    -------
    BandLift
        NaN where a band is empty or the signal of the whole spectrum is zero.

    References
    ----------
    .. [1] B. Efron, C. Stein, "The jackknife estimate of variance", Annals of Statistics 9(3), 1981.

    Examples
    --------
    >>> import networkx as nx, torch
    >>> from paramgraph import eigenpairs, laplacian, signal_to_noise
    >>> noise = torch.randn(50, 4, 8, generator=torch.Generator().manual_seed(0))
    >>> spectrum = eigenpairs(laplacian(nx.path_graph(4)))
    >>> lift = band_lift(signal_to_noise(spectrum, noise + 1.0, bands=(0, 0.5, 1))).lift
    >>> bool(lift[0] > 1.5), bool(lift[1] < 0.2)
    (True, True)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = _ratios(statistics.signal[:, None], statistics.noise[:, None])[:, 0]
        left = _ratios(statistics.left_signal, statistics.left_noise)
    _, reach = jackknife_error(left)
    return BandLift(lift, lift - reach, lift + reach)


def effective_batch_gain(
    statistics: BandStatistics,
    gains: Iterable[float] | None = None,
    batches_averaged: float = 1,
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
    m = check_averaged(batches_averaged)
    fixed = None if gains is None else np.array([float(gain) for gain in gains])
    if fixed is not None and (fixed.shape != statistics.signal.shape or not np.isfinite(fixed).all()):
        raise ValueError(
            f"one finite gain is needed for each of {len(statistics.signal)} bands, got {fixed.tolist()}"
        )
    gain = _gain(statistics.signal[:, None], statistics.noise[:, None] / m, fixed)
    _, reach = jackknife_error(_gain(statistics.left_signal, statistics.left_noise / m, fixed)[None])
    return BatchGain(float(gain[0]), float(gain[0] - reach[0]), float(gain[0] + reach[0]))


def _ratios(
    signal: Float[np.ndarray, "bands batches"], noise: Float[np.ndarray, "bands batches"]
) -> Float[np.ndarray, "bands batches"]:
    return np.asarray(signal / noise / (signal.sum(axis=0) / noise.sum(axis=0)))


def _gain(
    signal: Float[np.ndarray, "bands batches"],
    noise: Float[np.ndarray, "bands batches"],
    gains: Float[np.ndarray, " bands"] | None,
) -> Float[np.ndarray, " batches"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        wiener = np.where(signal > 0, np.clip(signal / (signal + noise), 0.0, 1.0), 0.0)
        h = wiener if gains is None else gains[:, None]
        total = signal.sum(axis=0)
        square = (h * signal).sum(axis=0) ** 2 / (total * (h**2 * (signal + noise)).sum(axis=0))
        found = square / (1 - square) * noise.sum(axis=0) / total
    return np.where((total > 0) & (square < 1), found, np.nan)
