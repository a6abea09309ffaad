"""The eigenproblem that a solver is given, what it gives back, and what a solver is."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from paramgraph.graphs import Matrix


@dataclass(frozen=True, eq=False)
class EigenProblem:
    """What a solver is asked: some pairs at one end of one connected, symmetric operator.

    The `count` smallest eigenvalues of the float64 `matrix` are wanted, ascending, or the largest, descending; the
    matrix is never changed. `interval` holds all eigenvalues. A unit `null` vector is left out: the pairs of its
    orthogonal complement are wanted. `tol` is a residual norm, relative to the largest absolute end of the interval.
    """

    matrix: Matrix
    count: int
    smallest: bool
    interval: tuple[float, float]
    null: Float[np.ndarray, "nodes"] | None = None
    tol: float = 1e-8
    seed: int | np.random.Generator = 0

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

    def project(self, X: Float[np.ndarray, " nodes *block"]) -> Float[np.ndarray, " nodes *block"]:
        """Take the part along the null vector out; X itself where there is none."""
        if self.null is None:
            return X
        along = self.null @ X
        return X - (np.outer(self.null, along) if X.ndim == 2 else self.null * along)

    def start(self, width: int) -> Float[np.ndarray, "nodes {width}"]:
        """Draw start vectors from the seed, standard normal and then orthogonal to the null vector."""
        block = np.random.default_rng(self.seed).standard_normal((self.nodes, width))
        return self.project(block)


class SolverResult(NamedTuple):
    """What a solver gives back, in the order that the problem asks for.

    Columns are orthonormal up to the tolerance. `iterations` is None for a direct solver, whose pairs are taken as
    they are; those of others are refined. `note` is added to the reason, such as the variant that ran. `assured` is
    False where the solver cannot tell whether it has passed over a pair.
    """

    eigenvalues: Float[np.ndarray, " count"]
    eigenvectors: Float[np.ndarray, "nodes count"]
    iterations: int | None = None
    note: str = ""
    assured: bool = True


@runtime_checkable
class Solver(Protocol):
    """What a file of `paramgraph/spectra/solvers` is: these two functions, under the name of the file."""

    def refusal(self, problem: EigenProblem) -> str:
        """Say why the problem is outside what the solver can do; empty where it can."""

    def solve(self, problem: EigenProblem) -> SolverResult:
        """Find the pairs; what has not converged may come back, since the caller checks the residuals."""
