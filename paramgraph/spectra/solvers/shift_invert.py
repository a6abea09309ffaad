"""Lanczos on the inverse of the shifted operator, through a sparse factorization just outside its spectrum."""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from paramgraph.spectra import EigenProblem, SolverResult, lanczos_refusal as refusal, largest_pairs

__all__ = ["refusal", "solve"]

# Relative to the bound, just outside the interval: L is singular, so the shift must miss 0; the null vector,
# which the factorization amplifies by 1 / shift, is projected out before and after.
SHIFT = 1e-5
RESTARTS = 500


def solve(problem: EigenProblem) -> SolverResult:
    r"""Solve by Lanczos iteration on the inverse of the shifted operator [1]_.

    .. math:: (L + s I)^{-1} u = (\lambda + s)^{-1} u \quad\text{or}\quad (b I + s I - A)^{-1} u

    with s = 1e-5 of the bound, beyond the end of the interval. Both matrices are positive definite, so that the
    factorization needs no pivots. The lowest pairs of chains and grids, which lie close together, are well apart there.

    The factors in minimum degree order are sparse for chains, trees and grids and nearly full for expanders: see
    `estimate_fill_in`.

    .. [1] T. Ericsson, A. Ruhe, "The spectral transformation Lanczos method", Math. Comp. 35, 1980.
    """
    margin = SHIFT * problem.scale
    low, high = problem.interval
    shift = low - margin if problem.smallest else high + margin
    sign = 1.0 if problem.smallest else -1.0
    shifted = sign * sp.csc_array(problem.matrix)
    shifted = sp.csc_array(shifted - sign * shift * sp.eye_array(problem.nodes, format="csc"))
    factors = splu(
        shifted,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,  # positive definite: no pivoting needed, and the fill-in stays small
        options={"SymmetricMode": True},
    )

    def apply(x: np.ndarray) -> np.ndarray:
        return problem.project(factors.solve(np.asarray(problem.project(x))))

    return largest_pairs(
        problem,
        apply,
        lambda values: shift + sign / values,
        f"shift-invert at {shift:.1g}",
        restarts=RESTARTS,
    )
