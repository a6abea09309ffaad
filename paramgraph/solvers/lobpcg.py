"""LOBPCG, a block method: finds multiple eigenvalues without luck."""

import warnings

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import lobpcg

from paramgraph.spectrum import EigenProblem, SolverResult

BLOCK_STEPS = 1000


def refusal(problem: EigenProblem) -> str:
    """Say why LOBPCG cannot solve the problem.

    Parameters
    ----------
    problem : EigenProblem
        Any problem.

    Returns
    -------
    str
        Empty if it can; the block must be small against the number of nodes.
    """
    free = problem.nodes - (problem.null is not None)
    # Below five times the block SciPy turns to a dense solve of its own.
    return "" if 5 * problem.count <= free else f"LOBPCG finds at most {free // 5} pairs here"


def solve(problem: EigenProblem) -> SolverResult:
    """Solve by locally optimal block conjugate gradients with a diagonal preconditioner.

    Parameters
    ----------
    problem : EigenProblem
        With at least five nodes for each pair.

    Returns
    -------
    SolverResult
        The pairs of the last step, converged or not: the caller checks residuals. O(edges x count) time for a
        step, O(nodes x count) memory.

    References
    ----------
    .. [1] A. V. Knyazev, "Toward the optimal preconditioned eigensolver", SIAM J. Sci. Comput. 23(2), 2001.
    """
    diagonal = problem.matrix.diagonal()
    preconditioner = None
    if problem.smallest and (diagonal > 0).all() and np.ptp(diagonal) > 0:
        preconditioner = sp.diags_array(1 / diagonal, format="csr")
    constraint = None if problem.null is None else problem.null[:, None]
    with warnings.catch_warnings():
        # It warns where it stops short of the tolerance; the caller raises on the true residuals instead.
        warnings.simplefilter("ignore", UserWarning)
        values, vectors, history = lobpcg(
            problem.matrix,
            problem.start(problem.count),
            M=preconditioner,
            Y=constraint,
            tol=problem.tol * problem.scale / 2,
            maxiter=BLOCK_STEPS,
            largest=not problem.smallest,
            retResidualNormsHistory=True,
        )
    order = np.argsort(values if problem.smallest else -values, kind="stable")
    return SolverResult(values[order], vectors[:, order], len(history))
