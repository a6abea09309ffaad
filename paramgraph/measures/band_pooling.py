"""Signal and noise in bands, pooled over many matrices."""

from collections.abc import Sequence

import numpy as np

from paramgraph.measures.band_statistics import BandStatistics, jackknife_statistics


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
    >>> from paramgraph import signal_to_noise
    >>> from paramgraph import eigenpairs
    >>> from paramgraph import laplacian
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
    parts = zip(statistics, whole, strict=True)
    scaled = [
        (one.signal / noise, one.noise / noise, one.left_signal / noise, one.left_noise / noise)
        for one, noise in parts
    ]
    signal, noise, left_signal, left_noise = (np.sum(part, axis=0) for part in zip(*scaled, strict=True))
    return jackknife_statistics(
        low=first.low,
        high=first.high,
        modes=np.sum([one.modes for one in statistics], axis=0),
        energy_share=np.mean([one.energy_share for one in statistics], axis=0),
        signal=signal,
        noise=noise,
        left_signal=left_signal,
        left_noise=left_noise,
    )
