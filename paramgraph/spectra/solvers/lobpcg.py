"""LOBPCG, a block method: finds multiple eigenvalues without luck."""

import numpy as np
import scipy.sparse as sp

from paramgraph.spectra import EigenProblem, SolverResult, block_refusal as refusal, solve_block

__all__ = ["refusal", "solve"]

BLOCK_STEPS = 1000


def solve(problem: EigenProblem) -> SolverResult:
    """Solve by locally optimal block conjugate gradients, with the diagonal as preconditioner where it varies."""
    diagonal = problem.matrix.diagonal()
    if problem.smallest and (diagonal > 0).all() and np.ptp(diagonal) > 0:
        jacobi = sp.diags_array(1 / diagonal, format="csr")
        return solve_block(problem, jacobi, BLOCK_STEPS, "LOBPCG with Jacobi preconditioner")
    return solve_block(problem, None, BLOCK_STEPS, "LOBPCG without preconditioner")
