"""Signals and gradients in the modes of a spectrum."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from paramgraph.spectra import Spectrum, check_signal, check_spectrum

# Of the largest eigenvalue, from end to end: weights in float32 part the copies of an eigenvalue so far.
CLUSTER_WIDTH = 1e-7


def project_signal(spectrum: Spectrum, X: Tensor) -> Float[Tensor, "modes width"]:
    """Take a signal (nodes,) or (nodes, width) to the modes of a spectrum: U^T X in float64 on the CPU, detached.

    Other rows and entries that are not finite are a ValueError, what is no spectrum or no tensor a TypeError.
    """
    check_spectrum(spectrum, "this measure")
    check_signal(X, spectrum.nodes)
    U = spectrum.eigenvectors.to("cpu", torch.float64)
    signal = X.detach().to("cpu", torch.float64)
    return U.T @ (signal[:, None] if X.ndim == 1 else signal)


def level_ends(spectrum: Spectrum) -> Int64[np.ndarray, " ends"]:
    """List where the levels of equal eigenvalues end among the modes of a spectrum, from 0 on.

    No level is wider than 1e-7 of the largest: neighbours that go on for longer are parted at their widest gaps.
    """
    check_spectrum(spectrum, "this measure")
    values = spectrum.eigenvalues.to("cpu").double().numpy()
    width = CLUSTER_WIDTH * np.abs(values).max(initial=0.0)
    gaps = np.abs(np.diff(values))
    cuts = [0, *(1 + np.flatnonzero(gaps > width)).tolist(), len(values)]
    runs, ends = list(itertools.pairwise(cuts)), [0]
    while runs:
        low, high = runs.pop()
        if high - low > 1 and abs(values[high - 1] - values[low]) > width:
            widest = low + 1 + int(gaps[low : high - 1].argmax())
            runs += [(low, widest), (widest, high)]
        else:
            ends.append(high)
    return np.unique(ends).astype(np.int64)


def level_means(
    spectrum: Spectrum, values: Float[np.ndarray, " modes *batches"]
) -> Float[np.ndarray, " modes *batches"]:
    """Give each mode the mean of what the copies of its eigenvalue have: of one copy it depends on the solver's basis.

    Sums over levels stay, and a band that ends within a level has its share of it.
    """
    ends = level_ends(spectrum)
    copies = np.diff(ends)
    if len(copies) == len(values):
        return values
    sums = np.add.reduceat(values, ends[:-1], axis=0)
    means: np.ndarray = (sums.T / copies).T.repeat(copies, axis=0)
    return means


def band_modes(spectrum: Spectrum, low: int, high: int) -> Float[Tensor, "nodes modes"]:
    r"""Take the modes from `low` up to `high` as a factor F of the projector F F^T on them.

    Of a level that the band cuts all copies, multiplied by :math:`\sqrt{j / m}` where j of its m copies lie in the
    band: what any j of them catch on average. Columns are orthonormal where no level is cut.
    """
    ends = level_ends(spectrum)
    inside = np.minimum(ends[1:], high) - np.maximum(ends[:-1], low)
    share = (inside.clip(min=0) / np.diff(ends)).repeat(np.diff(ends))
    taken = torch.from_numpy(np.flatnonzero(share)).to(spectrum.eigenvectors.device)
    factor = spectrum.eigenvectors[:, taken]
    if (share[share > 0] == 1).all():
        return factor
    return factor * torch.from_numpy(share[share > 0] ** 0.5).to(factor)


@dataclass(frozen=True, eq=False)
class ProjectedGradients:
    """Hold what the statistics of several batches need of their gradients in each mode.

    Copies of one eigenvalue have the mean of all of them.

    Parameters
    ----------
    mean_energy : ndarray of shape (modes,)
        Energy of the mean gradient.
    with_mean : ndarray of shape (modes, batches)
        Inner product of each batch's gradient with the mean.
    energy : ndarray of shape (modes, batches)
        Energy of each batch's gradient.
    """

    mean_energy: Float[np.ndarray, " modes"]
    with_mean: Float[np.ndarray, "modes batches"]
    energy: Float[np.ndarray, "modes batches"]

    @property
    def batches(self) -> int:
        """Number of batches."""
        return int(self.energy.shape[1])


# Gradients of several batches: (batches, nodes, width), one (nodes, width) a batch, or what was made of them.
BatchGradients = Tensor | Sequence[Tensor] | ProjectedGradients


def project_gradients(spectrum: Spectrum, gradients: Tensor | Sequence[Tensor]) -> ProjectedGradients:
    r"""Take the gradients of several batches to the modes of a spectrum, and keep their inner products alone.

    .. math:: \|m_k\|^2, \qquad m_k \cdot p_{bk}, \qquad \|p_{bk}\|^2 \qquad \text{with } p_{bk} = u_k^T G_b,
        \quad m_k = \tfrac{1}{B} \sum_b p_{bk}

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator on the same nodes.
    gradients : Tensor of shape (batches, nodes, width) or sequence of Tensor of shape (nodes, width)
        Of batches of equal size; not changed. A sequence is gone through twice.

    Returns
    -------
    ProjectedGradients
        Float64. O(batches x nodes x modes x width) time; two projected gradients of memory.

    Raises
    ------
    ValueError
        If there are no gradients, or one has other rows or columns or is not finite.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import eigenpairs, laplacian
    >>> found = project_gradients(eigenpairs(laplacian(nx.path_graph(2))), torch.ones(3, 2, 1))
    >>> found.mean_energy.round(6).tolist()
    [2.0, 0.0]
    """
    if not len(gradients):
        raise ValueError("no gradients to project: give those of at least one batch")
    check_spectrum(spectrum, "this measure")
    shapes = set()
    for gradient in _batches(gradients):
        check_signal(gradient, spectrum.nodes, finite=False)
        shapes.add(tuple(gradient.shape))
        if len(shapes) > 1:
            raise ValueError(f"gradients of all batches have one shape, got {' and '.join(map(str, shapes))}")
    total = torch.zeros(shapes.pop(), dtype=torch.float64, device="cpu")
    for gradient in _batches(gradients):
        total += gradient.detach().to("cpu", torch.float64)
    mean = project_signal(spectrum, total / len(gradients))
    cross, square = [], []
    for gradient in _batches(gradients):
        projected = project_signal(spectrum, gradient)
        cross.append((mean * projected).sum(dim=1))
        square.append(projected.square().sum(dim=1))
    found = mean.square().sum(dim=1), torch.stack(cross, 1), torch.stack(square, 1)
    return ProjectedGradients(*(level_means(spectrum, each.numpy()) for each in found))


def _batches(gradients: Tensor | Sequence[Tensor]) -> Iterator[Tensor]:
    return (gradients[number] for number in range(len(gradients)))
