r"""Signal and noise of gradients in bands of a spectrum.

Bands are shares of the computed modes, low graph frequency first; where a band ends inside a set of equal
eigenvalues, which of their modes fall on either side is arbitrary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float, Int64

from paramgraph.measures.projection import ProjectedGradients, project_gradients
from paramgraph.spectra import Spectrum

FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Finer where gradients of language models were found to have their energy.
LOW_BANDS = (0.0, 0.01, 0.05, 0.2, 0.4, 0.6, 1.0)


def band_edges(modes: int, bands: Sequence[Any] = FIFTHS) -> tuple[int, ...]:
    """Cut modes into bands by shares of their number.

    Parameters
    ----------
    modes : int
        Number of modes.
    bands : sequence of float, default (0, .2, .4, .6, .8, 1)
        Rising shares, from 0 to 1.

    Returns
    -------
    tuple of int
        Band b holds the modes from entry b up to, but not with, entry b + 1; bands of few modes may be empty.

    Raises
    ------
    ValueError
        If `bands` does not rise from 0 to 1.

    Examples
    --------
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

    Examples
    --------
    >>> one, left = np.ones(1), np.ones((1, 8))
    >>> jackknife_statistics(0 * one, one, np.array([4]), one, one, one, left, left).rows()[0]["snr"]
    1.0
    """

    low: Float[np.ndarray, "bands"]
    high: Float[np.ndarray, "bands"]
    modes: Int64[np.ndarray, "bands"]
    energy_share: Float[np.ndarray, "bands"]
    signal: Float[np.ndarray, "bands"]
    noise: Float[np.ndarray, "bands"]
    snr: Float[np.ndarray, "bands"]
    snr_low: Float[np.ndarray, "bands"]
    snr_high: Float[np.ndarray, "bands"]
    z: Float[np.ndarray, "bands"]
    left_signal: Float[np.ndarray, "bands batches"]
    left_noise: Float[np.ndarray, "bands batches"]

    @property
    def batches(self) -> int:
        """Number of batches."""
        return int(self.left_signal.shape[1])

    def rows(self) -> list[dict[str, float]]:
        """List the bands as records of plain numbers.

        Returns
        -------
        list of dict
            One for each band, with the names of the arrays as keys.
        """
        names = [name for name in self.__dataclass_fields__ if not name.startswith("left_")]
        columns = [getattr(self, name).tolist() for name in names]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def signal_to_noise(spectrum: Spectrum, gradients: Any, bands: Sequence[Any] = FIFTHS) -> BandStatistics:
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
        Gradients of at least three batches of equal size; not changed. A sequence is gone through twice. What
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
    >>> from paramgraph import eigenpairs
    >>> from paramgraph import laplacian
    >>> noise = torch.randn(50, 4, 8, generator=torch.Generator().manual_seed(0))
    >>> found = signal_to_noise(eigenpairs(laplacian(nx.path_graph(4))), noise + 1.0, bands=(0, 0.5, 1))
    >>> bool(found.snr[0] > 0.5), bool(found.snr[1] < 0.1)
    (True, True)
    """
    known = isinstance(gradients, ProjectedGradients)
    count = gradients.batches if known else len(gradients)
    if count < 3:  # before the projection, which takes the time
        raise ValueError(f"the jackknife over batches needs at least 3 of them, got {count}")
    edges = band_edges(spectrum.modes, bands)
    projected = gradients if known else project_gradients(spectrum, gradients)
    return projected_statistics(projected, edges, bands)


def projected_statistics(
    projected: ProjectedGradients, edges: Sequence[int], bands: Sequence[Any]
) -> BandStatistics:
    """Estimate signal and noise from gradients that are projected already.

    Parameters
    ----------
    projected : ProjectedGradients
        Of at least three batches of equal size.
    edges : sequence of int
        Band b holds the modes from entry b up to, but not with, entry b + 1.
    bands : sequence of float
        The same as shares, for the result to say.

    Returns
    -------
    BandStatistics
        As `signal_to_noise`. O(modes x batches) time.

    Raises
    ------
    ValueError
        If there are fewer than three batches.
    """
    count = projected.batches
    if count < 3:
        raise ValueError(f"the jackknife over batches needs at least 3 of them, got {count}")
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


def jackknife_statistics(
    low: Float[np.ndarray, "bands"],
    high: Float[np.ndarray, "bands"],
    modes: Int64[np.ndarray, "bands"],
    energy_share: Float[np.ndarray, "bands"],
    signal: Float[np.ndarray, "bands"],
    noise: Float[np.ndarray, "bands"],
    left_signal: Float[np.ndarray, "bands batches"],
    left_noise: Float[np.ndarray, "bands batches"],
) -> BandStatistics:
    """Form ratios and their delete-one jackknife intervals (Student's t, batches - 1 degrees of freedom).

    Parameters
    ----------
    low, high, modes, energy_share, signal, noise : ndarray of shape (bands,)
        As in `BandStatistics`.
    left_signal, left_noise : ndarray of shape (bands, batches)
        Signal and noise with one batch left out.

    Returns
    -------
    BandStatistics
        With `snr`, its interval and `z`.
    """
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
) -> tuple[Float[np.ndarray, "bands"], Float[np.ndarray, "bands"]]:
    """Give the standard error of a statistic from its leave-one-out values, and half its interval of 95 %."""
    count = left.shape[1]
    error = np.sqrt((count - 1) / count * ((left - left.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
    return error, scipy.stats.t.ppf(0.975, count - 1) * error


def _moments(energy: Any, total: Any, count: int) -> tuple[Any, Any]:
    """Unbiased signal and noise from the energy of the mean and the summed energy of the batches."""
    # A difference of two sums; identical batches leave rounding, of which a variance has no negative.
    noise = np.maximum((total - count * energy) / (count - 1), 0.0)
    return energy - noise / count, noise


def _band_sums(values: Any, edges: Sequence[int]) -> Any:
    """Sum (modes, batches) over the modes of each band."""
    return np.stack([values[low:high].sum(axis=0) for low, high in pairwise(edges)])
