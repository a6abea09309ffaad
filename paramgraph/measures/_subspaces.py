"""How far two subspaces, such as those of the lowest modes of two graphs, are the same."""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.errors import NumericalWarning
from paramgraph.spectra import Spectrum

# Eigenvalues nearer than this, relative to the largest, are equal but for the solver's tolerance of 1e-8.
DEGENERATE = 1e-6


@dataclass(frozen=True, eq=False)
class SubspaceAlignment:
    """Hold the angles between two subspaces, and what chance would give.

    Parameters
    ----------
    alignment : float
        Mean squared cosine of the angles: 1 where the smaller lies in the larger, 0 where they are orthogonal.
    expected : float
        The same for random subspaces: the larger dimension over the number of nodes.
    angles : ndarray of shape (smaller dimension,)
        Principal angles in radians, smallest first.
    dimensions : tuple of (int, int)
        Of the two subspaces.
    """

    alignment: float
    expected: float
    angles: Float[np.ndarray, " smaller"]
    dimensions: tuple[int, int]


def subspace_alignment(
    first: Tensor | Spectrum, second: Tensor | Spectrum, k: int | None = None
) -> SubspaceAlignment:
    r"""Measure how far two subspaces of the same nodes are aligned.

    .. math:: \frac{1}{\min(p, q)} \|Q_1^T Q_2\|_F^2 = \frac{1}{\min(p, q)} \sum_i \cos^2 \theta_i

    with orthonormal bases Q of dimensions p and q and principal angles :math:`\theta_i`. It depends on the spans
    alone, so not on which eigenvectors a solver picks inside an eigenspace, as long as the whole eigenspace is in.
    What it cannot tell: which single modes agree; and subspaces of many dimensions are aligned by chance, so read
    `alignment` beside `expected`.

    Parameters
    ----------
    first, second : Tensor of shape (nodes, dimension), or Spectrum
        Columns that span the subspaces, orthonormal or not, of any floating dtype; dependent columns count once.
        Of a spectrum the first `k` modes.
    k : int, optional
        Number of modes, or of columns; all by default.

    Returns
    -------
    SubspaceAlignment
        NaN where a subspace has no dimension. O(nodes x dimension^2) time.

    Raises
    ------
    TypeError
        If a subspace is neither tensor nor spectrum.
    ValueError
        If numbers of nodes differ, an entry is not finite, or `k` is not within the columns.

    Warns
    -----
    NumericalWarning
        If `k` cuts a set of equal eigenvalues, so that the subspace is the solver's choice. A spectrum with no mode
        after `k` cannot show it: compute one more than is compared.

    References
    ----------
    .. [1] A. Bjorck, G. H. Golub, "Numerical methods for computing angles between linear subspaces", Mathematics
       of Computation 27(123), 1973.

    Examples
    --------
    >>> plane = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> turned = plane @ torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    >>> round(subspace_alignment(plane, turned).alignment, 6)
    1.0
    """
    U, V = _basis(first, k), _basis(second, k)
    if len(U) != len(V):
        raise ValueError(f"subspaces of the same nodes are compared, got {len(U)} and {len(V)} nodes")
    dimensions = U.shape[1], V.shape[1]
    if not min(dimensions):
        return SubspaceAlignment(np.nan, np.nan, np.zeros(0), dimensions)
    angles = np.sort(scipy.linalg.subspace_angles(U, V))
    return SubspaceAlignment(
        float(np.mean(np.cos(angles) ** 2)), max(dimensions) / len(U), angles, dimensions
    )


def _basis(subspace: Tensor | Spectrum, k: int | None) -> Float[np.ndarray, "nodes dimension"]:
    """Check a subspace and give an orthonormal basis of it."""
    if not isinstance(subspace, Tensor | Spectrum):
        raise TypeError(
            f"a subspace is a tensor (nodes, dimension) or a Spectrum, got {type(subspace).__name__}"
        )
    columns = subspace.eigenvectors if isinstance(subspace, Spectrum) else subspace
    if columns.ndim != 2 or not columns.is_floating_point():
        raise ValueError(
            f"a subspace is a floating tensor (nodes, dimension), got {columns.dtype} {tuple(columns.shape)}"
        )
    held = columns.shape[1]
    count = held if k is None else k
    if not 0 <= count <= held:
        raise ValueError(f"k must be 0 to {held}, the number of columns held; got {k}")
    if not bool(torch.isfinite(columns).all()):
        raise ValueError("a subspace has NaN or infinite entries")
    if isinstance(subspace, Spectrum) and 0 < count < held:
        _warn_of_cut(subspace.eigenvalues.detach().to("cpu", torch.float64), count)
    chosen: np.ndarray = columns[:, :count].detach().to("cpu", torch.float64).numpy()
    # A span knows no lengths, and 1e-20 of one is no rounding.
    largest = np.abs(chosen).max(axis=0, initial=0.0)
    chosen = chosen[:, largest > 0] / largest[largest > 0]
    if not chosen.size:
        return chosen[:, :0]
    # What the rounding of a dtype adds has at most half of eps times the Frobenius norm.
    rounding = (
        max(chosen.shape) * np.finfo(np.float64).eps,
        min(chosen.shape) ** 0.5 * torch.finfo(columns.dtype).eps,
    )
    # Orthonormal first, so that the dimensions are those of the spans; the angles are then exact near 0 too.
    basis: np.ndarray = scipy.linalg.orth(chosen, rcond=max(rounding))
    return basis


def _warn_of_cut(values: Tensor, count: int) -> None:
    gap = abs((values[count] - values[count - 1]).item())
    if gap <= DEGENERATE * values.abs().max().item():
        warnings.warn(
            f"k = {count} cuts a set of equal eigenvalues (modes {count} and {count + 1}: "
            f"{values[count - 1].item():.6g}): which of their modes are compared is arbitrary; choose k at a gap",
            NumericalWarning,
            stacklevel=4,
        )
