"""Locally optimal block conjugate gradients (LOBPCG) for one end of a spectrum."""

import warnings
from typing import Any

import numpy as np
from scipy.sparse.linalg import lobpcg

from paramgraph.spectra.spectrum import EigenProblem, SolverResult

STARTS = 4


def block_refusal(problem: EigenProblem) -> str:
    """Say why a block method cannot solve the problem.

    Parameters
    ----------
    problem : EigenProblem
        Any problem.

    Returns
    -------
    str
        Empty if it can; the block must be small against the number of nodes.

    Examples
    --------
    >>> block_refusal(EigenProblem(np.eye(10), 5, True, (0.0, 1.0)))
    'LOBPCG finds at most 2 pairs here'
    """
    free = problem.nodes - (problem.null is not None)
    # Below five times the block SciPy turns to a dense solve of its own.
    return "" if 5 * problem.count <= free else f"LOBPCG finds at most {free // 5} pairs here"


def solve_block(problem: EigenProblem, preconditioner: Any, steps: int, note: str) -> SolverResult:
    """Iterate on a block of vectors from the seed, all at once.

    Parameters
    ----------
    problem : EigenProblem
        With at least five nodes for each pair.
    preconditioner : sparse array or LinearOperator, optional
        Approximate inverse of the matrix near the wanted end, positive definite.
    steps : int
        Largest number of steps.
    note : str
        For the reason: which preconditioner.

    Returns
    -------
    SolverResult
        The pairs of the last step, converged or not: the caller checks residuals. O(edges x count) time for a
        step, O(nodes x count) memory.

    References
    ----------
    .. [1] A. V. Knyazev, "Toward the optimal preconditioned eigensolver", SIAM J. Sci. Comput. 23(2), 2001.

    Examples
    --------
    >>> problem = EigenProblem(np.diag(np.arange(20.0)), 1, False, (0.0, 19.0))
    >>> solve_block(problem, None, 100, "").eigenvalues.round(6).tolist()
    [19.0]
    """
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
                M=preconditioner,
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
    return SolverResult(values[order], vectors[:, order], taken, note)
