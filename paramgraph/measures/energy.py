"""Measures of a signal on a spectrum: energy, signal against noise, smoothness; and the gap of a spectrum.

The signal is a gradient, or any other matrix of one row for each node.
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.measures.band_statistics import (
    FIFTHS,
    Bands,
    BandStatistics,
    band_edges,
    signal_to_noise,
)
from paramgraph.measures.projection import BatchGradients, level_ends, level_means, project_signal
from paramgraph.spectra import (
    ShiftOperator,
    Spectrum,
    check_operator,
    check_signal,
    check_spectrum,
)

# What is squared, and added up over some millions of entries.
SMALLEST = 1e-140


def mode_energy(spectrum: Spectrum, X: Tensor) -> Float[Tensor, " modes"]:
    r"""Measure the energy of a signal in each mode.

    .. math:: e_k = \|u_k^T X\|^2

    Copies of one eigenvalue (within 1e-7 of the largest) have the mean of all that are held: what one alone has depends
    on the basis that a solver happens to give. With a complete spectrum of a symmetric operator they add up to the
    squared norm of X (Parseval). What it cannot tell: signal from noise.

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator.
    X : Tensor of shape (nodes,) or (nodes, width)
        Of any floating dtype and device; not changed.

    Returns
    -------
    Tensor of shape (modes,)
        Float64, on the CPU, detached. O(nodes x modes x width) time.

    Raises
    ------
    ValueError
        If X has other rows or is not finite.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import eigenpairs, laplacian
    >>> mode_energy(eigenpairs(laplacian(nx.complete_graph(2))), torch.tensor([1.0, 3.0])).round(decimals=6)
    tensor([8., 2.], dtype=torch.float64)
    """
    energy = project_signal(spectrum, X).square().sum(dim=1)
    return torch.from_numpy(level_means(spectrum, energy.numpy()))


def band_energy(spectrum: Spectrum, X: Tensor, bands: Bands = FIFTHS) -> Float[Tensor, " bands"]:
    r"""Measure the energy of a signal in each band of the spectrum.

    .. math:: E_b = \sum_{k \in band} \|u_k^T X\|^2

    A band that ends among the copies of an eigenvalue has its share of their energy. What it cannot tell: signal from
    noise (see `signal_to_noise`), nor which of two graphs is the better one where their bands hold different numbers of
    modes; a graph that knows nothing of X gives each band its share of the modes.

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator.
    X : Tensor of shape (nodes,) or (nodes, width)
        Of any floating dtype and device; not changed.
    bands : sequence of float, default (0, .2, .4, .6, .8, 1)
        Shares of the modes held, where bands begin and end; `LOW_BANDS` is finer at the low end.

    Returns
    -------
    Tensor of shape (bands,)
        Float64, on the CPU, detached; 0 in an empty band. O(nodes x modes x width) time.

    Raises
    ------
    ValueError
        If X has other rows or is not finite, or `bands` does not rise from 0 to 1.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import eigenpairs, laplacian
    >>> spectrum = eigenpairs(laplacian(nx.path_graph(4)))
    >>> band_energy(spectrum, torch.eye(4), bands=(0, 0.25, 1)).round(decimals=6)
    tensor([1., 3.], dtype=torch.float64)
    """
    energy = mode_energy(spectrum, X)
    edges = band_edges(spectrum.modes, bands)
    return torch.stack([energy[low:high].sum() for low, high in pairwise(edges)])


def compaction(spectrum: Spectrum, X: Tensor, share: float = 0.2) -> float:
    r"""Measure how much of a signal's energy lies in the lowest graph frequencies.

    .. math:: \frac{\sum_{k \le share \cdot nodes} \|u_k^T X\|^2}{\|X\|^2}

    A graph that knows nothing of X gives `share` itself in expectation. Where the share ends among the copies of an
    eigenvalue, it has their share of the energy. The whole energy is that of X, not that of the modes held, so an
    incomplete spectrum gives the same number as a complete one, if it holds all copies of the last eigenvalue that
    counts. What it cannot tell: signal from noise; and a graph that is built from X itself always looks good.

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator, with at least `share` of its modes.
    X : Tensor of shape (nodes,) or (nodes, width)
        Signal of any floating dtype and device; not changed.
    share : float, default 0.2
        Share of the nodes' number, more than 0 and at most 1, rounded to whole modes.

    Returns
    -------
    float
        Between 0 and 1; NaN for a signal of zeros.

    Raises
    ------
    ValueError
        If X has other rows or is not finite, `share` is out of its range or no whole mode, or the spectrum holds
        fewer modes, or ends among the copies of the eigenvalue at which the share ends.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import eigenpairs, laplacian
    >>> spectrum = eigenpairs(laplacian(nx.path_graph(4), None))
    >>> round(compaction(spectrum, torch.ones(4), share=0.25), 6)
    1.0
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is more than 0 and at most 1, got {share}")
    check_spectrum(spectrum, "compaction")
    count = round(share * spectrum.nodes)
    if spectrum.nodes and not 1 <= count <= spectrum.modes:
        raise ValueError(
            f"a share of {share} of {spectrum.nodes} nodes is {count} modes, the spectrum holds {spectrum.modes}; "
            f"{'raise share' if count == 0 else 'raise k'}"
        )
    if not spectrum.complete and level_ends(spectrum)[-2] < count < spectrum.modes:
        raise ValueError(
            f"a share of {share} ends among the copies of the eigenvalue {spectrum.eigenvalues[count].item():.6g}, "
            "and so do the modes that the spectrum holds: how many copies there are is not known; raise k"
        )
    check_signal(X, spectrum.nodes)
    signal = _within_range(X)
    low = mode_energy(spectrum, signal)[:count].sum().item()
    energy = signal.square().sum().item()
    return low / energy if energy else math.nan


def _within_range(X: Tensor) -> Tensor:
    """Take a signal to the CPU in float64, divided by its largest entry where squares would leave float64's range."""
    signal = X.detach().to("cpu", torch.float64)
    largest = float(signal.abs().max()) if signal.numel() else 0.0
    return signal if not largest or SMALLEST < largest < 1 / SMALLEST else signal / largest


def mode_signal_to_noise(spectrum: Spectrum, gradients: BatchGradients) -> BandStatistics:
    r"""Estimate how much of a gradient is signal in each single mode of a spectrum.

    .. math:: S_k = E_k - v_k / B, \qquad N_k = v_k, \qquad snr_k = S_k / N_k

    as `signal_to_noise` with one band for each mode. What it cannot tell: one mode from another where their
    eigenvalues are equal; and a single mode has few degrees of freedom, so read its interval, or use bands.

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator on the same nodes, best from other batches than these.
    gradients : Tensor (batches, nodes, width), sequence of Tensor (nodes, width), or ProjectedGradients
        As in `signal_to_noise`.

    Returns
    -------
    BandStatistics
        One band for each mode, low graph frequency first.

    Raises
    ------
    ValueError
        If the spectrum is empty, there are fewer than three batches, or a gradient has other rows or is not finite.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import eigenpairs, laplacian
    >>> noise = torch.randn(50, 4, 8, generator=torch.Generator().manual_seed(0))
    >>> found = mode_signal_to_noise(eigenpairs(laplacian(nx.path_graph(4), None)), noise + 1.0)
    >>> bool(found.snr[0] > 2), bool(abs(found.snr[1:]).max() < 0.1)
    (True, True)
    """
    check_spectrum(spectrum, "mode_signal_to_noise")
    if not spectrum.modes:
        raise ValueError("a spectrum without modes has no signal and no noise")
    edges = [mode / spectrum.modes for mode in range(spectrum.modes + 1)]
    return signal_to_noise(spectrum, gradients, bands=edges)


def smoothness(operator: ShiftOperator, X: Tensor) -> float:
    r"""Measure the mean graph frequency of a signal, its Rayleigh quotient.

    .. math:: \frac{\operatorname{tr}(X^T L X)}{\operatorname{tr}(X^T X)}

    What it cannot tell: a signal at one frequency from a mixture of lower and higher ones; `mode_energy` can.

    Parameters
    ----------
    operator : ShiftOperator
        L. For a Laplacian, low is smooth; for an adjacency, high is.
    X : Tensor of shape (nodes,) or (nodes, width)
        Signal of any floating dtype; not changed.

    Returns
    -------
    float
        Within the interval of the eigenvalues; NaN for a signal of zeros.

    Raises
    ------
    ValueError
        If X has other rows or is not finite.
    TypeError
        If `operator` is no operator: a graph has several.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import laplacian
    >>> smoothness(laplacian(nx.path_graph(2), None), torch.tensor([1.0, -1.0]))
    2.0
    """
    check_operator(operator, "smoothness")
    check_signal(X, operator.nodes)
    signal = _within_range(X)
    energy = signal.square().sum().item()
    return (signal * (operator @ signal)).sum().item() / energy if energy else math.nan


def spectral_gap(spectrum: Spectrum) -> float:
    """Measure how far the lowest graph frequencies stand apart.

    Laplacian: the smallest eigenvalue after the zeros of the null space, so the algebraic connectivity of the
    least connected component; of a signed one, the least of these or of what a component that is not balanced lacks to
    a zero. Adjacency: the largest eigenvalue less the second. What it cannot tell: how many clusters there are, or
    whether any signal lies below the gap.

    Parameters
    ----------
    spectrum : Spectrum
        With one mode more than zeros (components, or balanced ones of a signed Laplacian), or two of an adjacency.

    Returns
    -------
    float
        In the units of the eigenvalues; 0 where all modes belong to the null space.

    Raises
    ------
    ValueError
        If the spectrum holds too few modes.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import eigenpairs, laplacian
    >>> round(spectral_gap(eigenpairs(laplacian(nx.complete_graph(5), None))), 6)
    5.0
    """
    check_spectrum(spectrum, "spectral_gap")
    values = spectrum.eigenvalues
    first = spectrum.first_varying
    if spectrum.modes <= first:
        if spectrum.complete:
            return 0.0
        raise ValueError(f"the gap needs {first + 1} modes, the spectrum holds {spectrum.modes}; raise k")
    return (values[0] - values[1]).item() if spectrum.kind == "adjacency" else values[first].item()
