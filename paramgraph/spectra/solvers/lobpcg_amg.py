"""LOBPCG with algebraic multigrid (smoothed aggregation, pyamg) as preconditioner."""

import importlib.util
import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

from paramgraph.spectra import EigenProblem, SolverResult, block_refusal, solve_block

BLOCK_STEPS = 300
# Relative to the bound: the preconditioner must be positive definite, and L is not. Where no null vector is
# projected out, a small shift would amplify the first pair so much that the others are lost beside it.
SHIFT = 1e-6
SHIFT_WITHOUT_NULL = 1e-2


def refusal(problem: EigenProblem) -> str:
    """Refuse without pyamg, or where the block is too large."""
    if importlib.util.find_spec("pyamg") is None:
        return "pyamg is not installed: pip install 'paramgraph[amg]'"
    return block_refusal(problem)


def solve(problem: EigenProblem) -> SolverResult:
    """Solve by block conjugate gradients, preconditioned with one V-cycle of smoothed aggregation.

    The hierarchy is built from L, or from bound - A for the largest pairs, with the null vector as the
    candidate that its coarse spaces represent exactly.

    The steps hardly grow with the graph; one takes O(edges x count) time [1]_.

    .. [1] N. Bell, L. N. Olson, J. Schroder, B. Southworth, "PyAMG: Algebraic Multigrid Solvers in Python",
       Journal of Open Source Software 8(87), 2023.
    """
    return solve_block(problem, _cycle(problem), BLOCK_STEPS, "LOBPCG with multigrid")


def _cycle(problem: EigenProblem) -> Any:
    try:
        import pyamg
    except ImportError as missing:
        raise ImportError("multigrid needs pyamg: pip install 'paramgraph[amg]'") from missing
    margin = (SHIFT_WITHOUT_NULL if problem.null is None else SHIFT) * problem.scale
    low, high = problem.interval
    shift = margin - low if problem.smallest else high + margin
    sign = 1.0 if problem.smallest else -1.0
    identity = sp.eye_array(problem.nodes, format="csr")
    matrix = sp.csr_array(sign * sp.csr_array(problem.matrix) + shift * identity)
    candidate = np.ones(problem.nodes) if problem.null is None else problem.null
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matrix types that pyamg converts by itself
        hierarchy = pyamg.smoothed_aggregation_solver(
            # 32-bit indices and the older matrix type are what its kernels read.
            sp.csr_matrix((matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32))),
            B=candidate[:, None],
            # "local" bounds the radius by row sums; the default estimates it from the global random state.
            smooth=("jacobi", {"omega": 4.0 / 3.0, "weighting": "local"}),
            # Symmetric sweeps before and after: conjugate gradients need a symmetric preconditioner.
            presmoother=("gauss_seidel", {"sweep": "symmetric"}),
            postsmoother=("gauss_seidel", {"sweep": "symmetric"}),
            max_coarse=200,
        )
    return hierarchy.aspreconditioner(cycle="V")
