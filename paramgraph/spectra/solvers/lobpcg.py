"""LOBPCG, a block method: finds multiple eigenvalues without luck."""

import numpy as np
import scipy.sparse as sp

from paramgraph.spectra import EigenProblem, SolverResult, block_refusal, solve_block

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
    return block_refusal(problem)


def solve(problem: EigenProblem) -> SolverResult:
    """Solve by locally optimal block conjugate gradients, with the diagonal as preconditioner where it varies.

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
    if problem.smallest and (diagonal > 0).all() and np.ptp(diagonal) > 0:
        jacobi = sp.diags_array(1 / diagonal, format="csr")
        return solve_block(problem, jacobi, BLOCK_STEPS, "LOBPCG with Jacobi preconditioner")
    return solve_block(problem, None, BLOCK_STEPS, "LOBPCG without preconditioner")
