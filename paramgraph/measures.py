r"""Measures on a spectrum: energy, signal against noise, smoothness, gap.

The signal is a gradient, or any other matrix of one row for each node.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.band_statistics import (
    FIFTHS,
    LOW_BANDS,
    BandStatistics,
    band_edges,
    project_signal,
    signal_to_noise,
)
from paramgraph.shift_operator import ShiftOperator
from paramgraph.spectrum import Spectrum

__all__ = [
    "FIFTHS",
    "LOW_BANDS",
    "BandStatistics",
    "band_edges",
    "mode_energy",
    "signal_to_noise",
    "smoothness",
    "spectral_gap",
]


def mode_energy(spectrum: Spectrum, X: Tensor) -> Float[Tensor, "modes"]:
    r"""Measure the energy of a signal in each mode.

    .. math:: e_k = \|u_k^T X\|^2

    With a complete spectrum of a symmetric operator they add up to the squared norm of X (Parseval).

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator.
    X : Tensor of shape (nodes,) or (nodes, width)
        Signal of any floating dtype and device; not changed.

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
    >>> from paramgraph.eigensolve import eigenpairs
    >>> from paramgraph.shifts import laplacian
    >>> mode_energy(eigenpairs(laplacian(nx.complete_graph(2))), torch.tensor([1.0, 3.0])).round(decimals=6)
    tensor([8., 2.], dtype=torch.float64)
    """
    return project_signal(spectrum, X).square().sum(dim=1)


def smoothness(operator: ShiftOperator, X: Tensor) -> float:
    r"""Measure the mean graph frequency of a signal, its Rayleigh quotient.

    .. math:: \frac{\operatorname{tr}(X^T L X)}{\operatorname{tr}(X^T X)}

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

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph.shifts import laplacian
    >>> smoothness(laplacian(nx.path_graph(2), None), torch.tensor([1.0, -1.0]))
    2.0
    """
    if not bool(torch.isfinite(X).all()):
        raise ValueError("the signal has NaN or infinite entries")
    signal = X.detach().to("cpu", torch.float64)
    energy = signal.square().sum().item()
    return (signal * (operator @ signal)).sum().item() / energy if energy else math.nan


def spectral_gap(spectrum: Spectrum) -> float:
    """Measure how far the lowest graph frequencies stand apart.

    Laplacian: the smallest eigenvalue after the zeros of the components, so the algebraic connectivity of the
    least connected component. Adjacency: the largest eigenvalue less the second.

    Parameters
    ----------
    spectrum : Spectrum
        With one mode more than components, or two of an adjacency.

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
    >>> from paramgraph.eigensolve import eigenpairs
    >>> from paramgraph.shifts import laplacian
    >>> round(spectral_gap(eigenpairs(laplacian(nx.complete_graph(5), None))), 6)
    5.0
    """
    values = spectrum.eigenvalues
    first = 1 if spectrum.kind == "adjacency" else spectrum.components
    if spectrum.modes <= first:
        if spectrum.complete:
            return 0.0
        raise ValueError(f"the gap needs {first + 1} modes, the spectrum holds {spectrum.modes}; raise k")
    return (values[0] - values[1]).item() if spectrum.kind == "adjacency" else values[first].item()
