"""Locally optimal block conjugate gradients (LOBPCG) for one end of a spectrum."""

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, lobpcg

from paramgraph.spectra._lanczos import add_passed_over
from paramgraph.spectra.eigenproblem import EigenProblem, SolverResult

STARTS = 4


def block_refusal(problem: EigenProblem) -> str:
    """Refuse a block that is not small against the number of nodes."""
    free = problem.nodes - (problem.null is not None)
    # Below five times the block SciPy turns to a dense solve of its own.
    return "" if 5 * problem.count <= free else f"LOBPCG finds at most {free // 5} pairs here"


def solve_block(
    problem: EigenProblem, preconditioner: sp.csr_array | LinearOperator | None, steps: int, note: str
) -> SolverResult:
    """Iterate on a block of vectors from the seed, all at once [1]_; the last step comes back, converged or not.

    What a converged block has passed over is added. The preconditioner is an approximate inverse of the matrix near
    the wanted end, positive definite. O(edges x count) time for a step, O(nodes x count) memory.

    .. [1] A. V. Knyazev, "Toward the optimal preconditioned eigensolver", SIAM J. Sci. Comput. 23(2), 2001.
    """
    inverse: Any = (
        preconditioner  # SciPy's stubs want a parameter of its type that SciPy itself does not have
    )
    constraint = None if problem.null is None else problem.null[:, None]
    tolerance = problem.tol * problem.scale / 2
    vectors, taken, residual = problem.start(problem.count), 0, np.inf
    # Its search directions can become dependent shortly before the tolerance: a fresh start from the vectors of then
    # takes some five steps more (seen on one ring in four of 11 to 60 nodes).
    for _ in range(STARTS):
        with warnings.catch_warnings():
            # It warns where it stops short of the tolerance; the caller raises on the true residuals instead.
            warnings.simplefilter("ignore", UserWarning)
            values, vectors, history = lobpcg(
                problem.matrix,
                vectors,
                M=inverse,
                Y=constraint,
                tol=tolerance,
                maxiter=steps - taken,
                largest=not problem.smallest,
                retResidualNormsHistory=True,
            )
        taken += len(history)
        before, residual = residual, np.linalg.norm(problem.matrix @ vectors - vectors * values, axis=0).max()
        if residual <= tolerance or not residual < before or taken >= steps:
            break
    order = np.argsort(values if problem.smallest else -values, kind="stable")
    result = SolverResult(values[order], vectors[:, order], taken, note)
    return add_passed_over(problem, result) if residual <= tolerance else result
