r"""Signal and noise of gradients in bands of a spectrum, of one matrix or pooled over many.

Bands are shares of the computed modes, low graph frequency first; where a band ends inside a set of equal
eigenvalues, which of their modes fall on either side is arbitrary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int64
from scipy.special import stdtrit

from paramgraph._checks import is_number
from paramgraph.measures.projection import BatchGradients, ProjectedGradients, project_gradients
from paramgraph.spectra import Spectrum, check_spectrum

# Shares of the modes where bands begin and end, from 0 to 1.
Bands = Sequence[float] | np.ndarray

FIFTHS: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Finer where gradients of language models were found to have their energy.
LOW_BANDS: tuple[float, ...] = (0.0, 0.01, 0.05, 0.2, 0.4, 0.6, 1.0)
FEWEST_BATCHES = 3  # the jackknife leaves one out, and a variance needs two


def band_edges(modes: int, bands: Bands = FIFTHS) -> tuple[int, ...]:
    """Cut modes into bands by shares of their number; band b begins at entry b and ends before entry b + 1.

    Bands of few modes may be empty. Shares that do not rise from 0 to 1 are a ValueError.

    >>> band_edges(384, LOW_BANDS)
    (0, 4, 19, 77, 154, 230, 384)
    """
    shares = [float(share) for share in bands]
    rising = all(low < high for low, high in pairwise(shares))
    if len(shares) < 2 or shares[0] != 0 or shares[-1] != 1 or not rising:
        raise ValueError(f"bands are shares that rise from 0 to 1, such as {FIFTHS}; got {tuple(shares)}")
    return tuple(round(share * modes) for share in shares)


@dataclass(frozen=True, eq=False)
class BandStatistics:
    """Hold signal and noise of gradients in each band of the spectrum, low graph frequency first.

    Parameters
    ----------
    low, high : ndarray of shape (bands,)
        Shares of the modes between which each band lies.
    modes : ndarray of shape (bands,)
        Number of modes.
    energy_share : ndarray of shape (bands,)
        Share of the energy of the mean gradient, its noise included; adds up to 1.
    signal : ndarray of shape (bands,)
        Unbiased estimate of the energy of the expected gradient; negative where noise alone gave less.
    noise : ndarray of shape (bands,)
        Unbiased estimate of the variance of one batch's gradient.
    snr : ndarray of shape (bands,)
        Signal over noise, for one batch; NaN in an empty band.
    snr_low, snr_high : ndarray of shape (bands,)
        Interval of 95 % by the jackknife over batches.
    z : ndarray of shape (bands,)
        `snr` over its jackknife standard error.
    left_signal, left_noise : ndarray of shape (bands, batches)
        The same estimates with one batch left out, for pooling over matrices.
    """

    low: Float[np.ndarray, " bands"]
    high: Float[np.ndarray, " bands"]
    modes: Int64[np.ndarray, " bands"]
    energy_share: Float[np.ndarray, " bands"]
    signal: Float[np.ndarray, " bands"]
    noise: Float[np.ndarray, " bands"]
    snr: Float[np.ndarray, " bands"]
    snr_low: Float[np.ndarray, " bands"]
    snr_high: Float[np.ndarray, " bands"]
    z: Float[np.ndarray, " bands"]
    left_signal: Float[np.ndarray, "bands batches"]
    left_noise: Float[np.ndarray, "bands batches"]

    @property
    def batches(self) -> int:
        """Number of batches."""
        return int(self.left_signal.shape[1])

    def rows(self) -> list[dict[str, float]]:
        """List the bands as records of plain numbers, with the names of the arrays as keys."""
        names = [name for name in self.__dataclass_fields__ if not name.startswith("left_")]
        columns = [getattr(self, name).tolist() for name in names]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def signal_to_noise(spectrum: Spectrum, gradients: BatchGradients, bands: Bands = FIFTHS) -> BandStatistics:
    r"""Estimate how much of a gradient is signal in each band of a spectrum.

    With the projected gradients :math:`p_{bk} = u_k^T G_b` of B batches, their mean :math:`m_k`, its energy
    :math:`E_k = \|m_k\|^2` and the unbiased variance :math:`v_k` across batches,

    .. math:: S = \sum_{k \in band} (E_k - v_k / B), \qquad N = \sum_{k \in band} v_k, \qquad snr = S / N

    S and N are unbiased: nothing is clipped, so pure noise gives ratios around 0 on both sides of it. The interval
    is the delete-one jackknife with Student's t for B - 1 degrees of freedom. What it cannot tell: whether training
    gains from the signal; nor anything, where the graph is built from these very batches.

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator on the same nodes, best from other batches than these.
    gradients : Tensor (batches, nodes, width), sequence of Tensor (nodes, width), or ProjectedGradients
        Of at least three batches of equal size; not changed. A sequence is gone through twice. What
        `project_gradients` made of them on this spectrum saves the projection, which is nearly all of the work.
    bands : sequence of float, default (0, .2, .4, .6, .8, 1)
        Shares of the modes where bands begin and end; `LOW_BANDS` is finer at the low end.

    Returns
    -------
    BandStatistics
        Float64. O(batches x nodes x modes x width) time; two projected gradients of memory.

    Raises
    ------
    ValueError
        If there are fewer than three batches, a gradient has other rows or is not finite, or `bands` does not
        rise from 0 to 1.

    References
    ----------
    .. [1] B. Efron, C. Stein, "The jackknife estimate of variance", Annals of Statistics 9(3), 1981.

    Examples
    --------
    >>> import networkx as nx, torch
    >>> from paramgraph import eigenpairs, laplacian
    >>> noise = torch.randn(50, 4, 8, generator=torch.Generator().manual_seed(0))
    >>> found = signal_to_noise(eigenpairs(laplacian(nx.path_graph(4))), noise + 1.0, bands=(0, 0.5, 1))
    >>> bool(found.snr[0] > 0.5), bool(found.snr[1] < 0.1)
    (True, True)
    """
    check_spectrum(spectrum, "signal_to_noise")
    if isinstance(gradients, ProjectedGradients):
        return projected_statistics(gradients, band_edges(spectrum.modes, bands), bands)
    _check_batches(len(gradients))  # before the projection, which takes the time
    edges = band_edges(spectrum.modes, bands)
    return projected_statistics(project_gradients(spectrum, gradients), edges, bands)


def projected_statistics(projected: ProjectedGradients, edges: Sequence[int], bands: Bands) -> BandStatistics:
    """Estimate signal and noise as `signal_to_noise`, in O(modes x batches), from gradients that are projected already.

    Band b holds the modes from `edges[b]` up to, but not with, `edges[b + 1]`; `bands` are the same as shares, for the
    result to say. Fewer than three batches are a ValueError.
    """
    count = projected.batches
    _check_batches(count)
    energy = _band_sums(projected.mean_energy[:, None], edges)[:, 0]
    # Band sums of m_k . p_bk and p_bk . p_bk are all that leaving a batch out needs.
    a, q = _band_sums(projected.with_mean, edges), _band_sums(projected.energy, edges)  # (bands, batches)
    total = q.sum(axis=1)
    signal, noise = _moments(energy, total, count)
    left_energy = (count**2 * energy[:, None] - 2 * count * a + q) / (count - 1) ** 2
    left_signal, left_noise = _moments(left_energy, total[:, None] - q, count - 1)
    shares = np.asarray(bands, dtype=np.float64)
    return jackknife_statistics(
        low=shares[:-1],
        high=shares[1:],
        modes=np.diff(edges).astype(np.int64),
        energy_share=np.divide(
            energy, energy.sum(), out=np.full_like(energy, np.nan), where=energy.sum() > 0
        ),
        signal=signal,
        noise=noise,
        left_signal=left_signal,
        left_noise=left_noise,
    )


def pool_bands(statistics: Sequence[BandStatistics]) -> BandStatistics:
    r"""Pool the statistics of several graphs whose gradients come from the same batches.

    .. math:: S = \sum_m S_m / N_m^{all}, \qquad N = \sum_m N_m / N_m^{all}, \qquad snr = S / N

    with :math:`N_m^{all}` the noise of matrix m over all its bands, so that every matrix counts alike, whatever
    the scale of its gradient. Signals are summed before the ratio is taken and never clipped: weak bands stay
    unbiased, as they would not in a mean of ratios. The jackknife leaves out one batch of all matrices together,
    because matrices share their batches and are not independent. What it cannot tell: one matrix from another; a
    few with much signal look like many with little.

    Parameters
    ----------
    statistics : sequence of BandStatistics
        Of the same bands and the same number of batches; each with some noise.

    Returns
    -------
    BandStatistics
        `signal` and `noise` in units of a matrix's whole noise; `energy_share` is the mean over matrices.

    Raises
    ------
    ValueError
        If there is nothing to pool, bands or numbers of batches differ, or a gradient has no noise at all.

    Examples
    --------
    >>> import networkx as nx, torch
    >>> from paramgraph import eigenpairs, laplacian
    >>> gradients = torch.randn(8, 5, 3, generator=torch.Generator().manual_seed(0))
    >>> one = signal_to_noise(eigenpairs(laplacian(nx.path_graph(5))), gradients)
    >>> bool(np.allclose(pool_bands([one, one]).snr, one.snr))
    True
    """
    if not statistics:
        raise ValueError("nothing to pool: give the statistics of at least one graph")
    first = statistics[0]
    for other in statistics[1:]:
        if not np.array_equal(other.high, first.high) or other.batches != first.batches:
            raise ValueError(
                f"pooling needs the same bands and batches, got upper ends {first.high.tolist()} and "
                f"{other.high.tolist()}, {first.batches} and {other.batches} batches"
            )
    whole = [one.noise.sum() for one in statistics]
    if min(whole) <= 0:
        raise ValueError(
            "a gradient without any noise across batches cannot be pooled: are the batches all the same?"
        )

    def summed(name: str) -> np.ndarray:
        parts = [getattr(one, name) / noise for one, noise in zip(statistics, whole, strict=True)]
        return np.asarray(np.sum(parts, axis=0))

    return jackknife_statistics(
        low=first.low,
        high=first.high,
        modes=np.sum([one.modes for one in statistics], axis=0),
        energy_share=np.mean([one.energy_share for one in statistics], axis=0),
        **{name: summed(name) for name in ("signal", "noise", "left_signal", "left_noise")},
    )


def jackknife_statistics(
    low: Float[np.ndarray, " bands"],
    high: Float[np.ndarray, " bands"],
    modes: Int64[np.ndarray, " bands"],
    energy_share: Float[np.ndarray, " bands"],
    signal: Float[np.ndarray, " bands"],
    noise: Float[np.ndarray, " bands"],
    left_signal: Float[np.ndarray, "bands batches"],
    left_noise: Float[np.ndarray, "bands batches"],
) -> BandStatistics:
    """Form ratios and their delete-one jackknife intervals; the arguments are fields of `BandStatistics`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, left = signal / noise, left_signal / left_noise
        error, reach = jackknife_error(left)
        z = ratio / error
        snr_low, snr_high = ratio - reach, ratio + reach
    return BandStatistics(
        low, high, modes, energy_share, signal, noise, ratio, snr_low, snr_high, z, left_signal, left_noise
    )


def jackknife_error(
    left: Float[np.ndarray, "bands batches"],
) -> tuple[Float[np.ndarray, " bands"], Float[np.ndarray, " bands"]]:
    """Give the standard error of a statistic from its leave-one-out values, and half its interval of 95 %.

    The interval is Student's t for batches - 1 degrees of freedom. Where all noise is of one batch, as of an expert
    that no other reaches, the ratio without it is infinite, and its error NaN.
    """
    count = left.shape[1]
    with np.errstate(invalid="ignore"):
        error = np.sqrt((count - 1) / count * ((left - left.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
    return error, stdtrit(count - 1, 0.975) * error


def check_averaged(value: float) -> float:
    """Check m, the number of batches that are averaged; not a whole one where momentum averages them."""
    if not is_number(value):
        raise TypeError(f"batches_averaged is a number of batches, got {value!r}")
    if not (math.isfinite(value) and value >= 1):
        raise ValueError(f"batches_averaged is a number of batches, 1 or larger; got {value}")
    return float(value)


def _check_batches(count: int) -> None:
    if count < FEWEST_BATCHES:
        raise ValueError(f"the jackknife over batches needs at least {FEWEST_BATCHES} of them, got {count}")


def _moments(energy: np.ndarray, total: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Unbiased signal and noise from the energy of the mean and the summed energy of the batches."""
    # A difference of two sums; identical batches leave rounding, of which a variance has no negative.
    noise = np.maximum((total - count * energy) / (count - 1), 0.0)
    return energy - noise / count, noise


def _band_sums(values: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    """Sum (modes, batches) over the modes of each band."""
    return np.stack([values[low:high].sum(axis=0) for low, high in pairwise(edges)])
