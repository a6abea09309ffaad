"""How far a band's signal-to-noise ratio stands above that of the whole spectrum."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paramgraph.measures.band_statistics import BandStatistics, jackknife_error


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

    lift: Float[np.ndarray, "bands"]
    low: Float[np.ndarray, "bands"]
    high: Float[np.ndarray, "bands"]


def band_lift(statistics: BandStatistics) -> BandLift:
    r"""Compare each band's signal-to-noise ratio with that of all bands together.

    .. math:: \mathrm{lift}_b = \frac{S_b / N_b}{\sum_c S_c / \sum_c N_c}

    The gradient of one batch can be many times that of another, and then the ratios of all bands rise and fall
    together: their own intervals are wide, that of the lift is not. A graph that knows nothing of the gradient
    has a lift of 1 in every band.

    Parameters
    ----------
    statistics : BandStatistics
        Of one matrix, or pooled.

    Returns
    -------
    BandLift
        NaN where a band is empty or the signal of the whole spectrum is zero. What a lift cannot tell: how large
        the signal is.

    References
    ----------
    .. [1] B. Efron, C. Stein, "The jackknife estimate of variance", Annals of Statistics 9(3), 1981.

    Examples
    --------
    >>> import networkx as nx, torch
    >>> from paramgraph import signal_to_noise
    >>> from paramgraph import eigenpairs
    >>> from paramgraph import laplacian
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


def _ratios(
    signal: Float[np.ndarray, "bands batches"], noise: Float[np.ndarray, "bands batches"]
) -> Float[np.ndarray, "bands batches"]:
    return np.asarray(signal / noise / (signal.sum(axis=0) / noise.sum(axis=0)))
