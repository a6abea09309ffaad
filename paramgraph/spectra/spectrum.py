"""The spectrum of a shift operator as a value, and the eigenproblem that a solver is given."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.display import spectrum_html
from paramgraph.graphs import Matrix


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenpairs of a shift operator, low graph frequency first, and how they were found.

    A Laplacian has ascending eigenvalues; an adjacency descending ones, since its strong modes are its low
    graph frequencies.

    Parameters
    ----------
    eigenvalues : Tensor of shape (modes,)
        Float64 on the CPU, as `eigenpairs` makes them.
    eigenvectors : Tensor of shape (nodes, modes)
        Columns of unit norm; orthonormal unless the operator is the "rw" Laplacian. The entry of largest
        magnitude is positive.
    residuals : Tensor of shape (modes,)
        Norm of L u - lambda u for each pair.
    solver : str
        What ran: a name of `list_solvers()`, several joined by "+", or "closed form".
    reason : str
        Why it ran, and what else was tried.
    components : int
        Number of connected components.
    certified : bool, optional
        Whether it is proven that no eigenvalue was missed; None if it was not asked.
    iterations : int, optional
        Matrix products (ARPACK) or block steps (LOBPCG) in all components; None for a direct solve.
    kind : {"laplacian", "adjacency"}
        Kind of the operator.
    nullity : int, optional
        Dimension of the null space of a Laplacian, known beforehand: as many as components, or as balanced
        components of a signed one. None where nothing is known.

    Examples
    --------
    >>> values, vectors = torch.tensor([0.0, 2.0]), torch.eye(2)
    >>> Spectrum(values, vectors, torch.zeros(2), "dense", "two nodes", 1).complete
    True
    """

    eigenvalues: Float[Tensor, "modes"] = field(repr=False)
    eigenvectors: Float[Tensor, "nodes modes"] = field(repr=False)
    residuals: Float[Tensor, "modes"] = field(repr=False)
    solver: str
    reason: str
    components: int
    certified: bool | None = None
    iterations: int | None = None
    kind: str = "laplacian"
    nullity: int | None = None

    def _repr_html_(self) -> str:
        return spectrum_html(self)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.eigenvectors.shape[0])

    @property
    def modes(self) -> int:
        """Number of eigenpairs held."""
        return int(self.eigenvectors.shape[1])

    @property
    def zeros(self) -> int:
        """Number of modes of a Laplacian's null space, which come first: `nullity`, or components where it is None.

        0 for an adjacency, of which nothing is known beforehand.
        """
        if self.kind != "laplacian":
            return 0
        return self.components if self.nullity is None else self.nullity

    @property
    def complete(self) -> bool:
        """Whether all eigenpairs are held, so that the eigenvectors are a basis."""
        return self.modes == self.nodes

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> "Spectrum":
        """Copy the tensors to a device or a floating dtype.

        Parameters
        ----------
        device : torch.device or str, optional
            Unchanged by default.
        dtype : torch.dtype, optional
            Unchanged by default.

        Returns
        -------
        Spectrum
            The same spectrum there.
        """
        tensors = {
            name: getattr(self, name).to(device=device, dtype=dtype)
            for name in ("eigenvalues", "eigenvectors", "residuals")
        }
        return replace(self, **tensors)


@dataclass(frozen=True, eq=False)
class EigenProblem:
    """What a solver is asked: some pairs at one end of one connected, symmetric operator.

    Parameters
    ----------
    matrix : csr_array or ndarray of shape (nodes, nodes)
        Symmetric, float64; never changed.
    count : int
        Number of pairs, at least 1; at most nodes, or nodes - 1 with a null vector.
    smallest : bool
        The smallest eigenvalues in ascending order, else the largest in descending order.
    interval : tuple of (float, float)
        Holds all eigenvalues.
    null : ndarray of shape (nodes,), optional
        Unit null vector, to be left out: the pairs of its orthogonal complement are wanted.
    tol : float
        Residual norm asked for, relative to the largest absolute end of the interval.
    seed : int or numpy.random.Generator
        Of the start vectors.

    Examples
    --------
    >>> EigenProblem(np.eye(3), 1, True, (0.0, 1.0)).nodes
    3
    """

    matrix: Matrix
    count: int
    smallest: bool
    interval: tuple[float, float]
    null: Float[np.ndarray, "nodes"] | None = None
    tol: float = 1e-8
    seed: Any = 0

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.matrix.shape[0])

    @property
    def scale(self) -> float:
        """Largest absolute end of the interval, or 1 for the zero matrix."""
        return max(abs(end) for end in self.interval) or 1.0

    @property
    def mean_degree(self) -> float:
        """Mean number of stored entries of a row, without the diagonal."""
        if isinstance(self.matrix, np.ndarray):
            return float(self.nodes - 1)
        return max(0.0, self.matrix.nnz / self.nodes - 1)

    def project(self, X: Float[np.ndarray, "nodes *block"]) -> Float[np.ndarray, "nodes *block"]:
        """Take the part along the null vector out.

        Parameters
        ----------
        X : ndarray of shape (nodes,) or (nodes, block)
            Not changed.

        Returns
        -------
        ndarray of the shape of `X`
            The part orthogonal to the null vector; `X` itself where there is none.
        """
        if self.null is None:
            return X
        along = self.null @ X
        return X - (np.outer(self.null, along) if X.ndim == 2 else self.null * along)

    def start(self, width: int) -> Float[np.ndarray, "nodes {width}"]:
        """Draw start vectors from the seed, orthogonal to the null vector.

        Parameters
        ----------
        width : int
            Number of vectors.

        Returns
        -------
        ndarray of shape (nodes, width)
            Standard normal entries, projected.
        """
        block = np.random.default_rng(self.seed).standard_normal((self.nodes, width))
        return self.project(block)


class SolverResult(NamedTuple):
    """What a solver gives back, in the order that the problem asks for.

    Parameters
    ----------
    eigenvalues : ndarray of shape (count,)
        In order.
    eigenvectors : ndarray of shape (nodes, count)
        Orthonormal columns up to the tolerance.
    iterations : int, optional
        None for a direct solver; its pairs are taken as they are, those of others are refined.
    note : str
        What to add to the reason, such as the variant that ran.

    Examples
    --------
    >>> SolverResult(np.zeros(1), np.ones((1, 1))).iterations is None
    True
    """

    eigenvalues: Float[np.ndarray, "count"]
    eigenvectors: Float[np.ndarray, "nodes count"]
    iterations: int | None = None
    note: str = ""


def fix_signs(eigenvectors: Float[np.ndarray, "nodes modes"]) -> Float[np.ndarray, "nodes modes"]:
    """Make the entry of largest magnitude of each column positive.

    Parameters
    ----------
    eigenvectors : ndarray of shape (nodes, modes)
        Not changed.

    Returns
    -------
    ndarray of shape (nodes, modes)
        Columns with fixed signs. Of entries that are equal in magnitude but for rounding, the first decides.

    Examples
    --------
    >>> fix_signs(np.array([[-0.8, 0.7], [0.6, -0.7]])).tolist()
    [[0.8, 0.7], [-0.6, -0.7]]
    """
    if not eigenvectors.size:
        return eigenvectors
    magnitude = np.abs(eigenvectors)
    # Antisymmetric vectors have two largest entries, which rounding would otherwise decide between.
    leading = (magnitude >= (1 - 1e-6) * magnitude.max(axis=0)).argmax(axis=0)
    sign = np.sign(eigenvectors[leading, np.arange(eigenvectors.shape[1])])
    return eigenvectors * np.where(sign == 0, 1.0, sign)
