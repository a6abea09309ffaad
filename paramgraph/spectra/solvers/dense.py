"""Direct solve of the dense matrix with LAPACK."""

from typing import Any

import numpy as np
import scipy.linalg

from paramgraph.spectra import EigenProblem, SolverResult


def refusal(problem: EigenProblem) -> str:
    """Refuse nothing."""
    return ""


def solve(problem: EigenProblem) -> SolverResult:
    """Solve to machine precision in O(nodes^3) time and O(nodes^2) memory.

    The null vector is lifted above the interval by its scale, so that it ends outside the pairs that are asked for
    and costs small weights no digits.
    """
    nodes, count = problem.nodes, problem.count
    matrix: Any = (
        problem.matrix.copy() if isinstance(problem.matrix, np.ndarray) else problem.matrix.toarray()
    )
    if problem.null is not None:
        matrix += (problem.interval[1] + problem.scale) * np.outer(problem.null, problem.null)
    first = 0 if problem.smallest else nodes - count
    # Divide and conquer for the whole basis is faster than the selective driver from a quarter on.
    subset = [first, first + count - 1] if 4 * count < nodes else None
    driver: Any = "evr" if subset else "evd"
    values, vectors = scipy.linalg.eigh(
        matrix, subset_by_index=subset, driver=driver, overwrite_a=True, check_finite=False
    )
    if subset is None:
        values, vectors = values[first : first + count], vectors[:, first : first + count]
    step = 1 if problem.smallest else -1
    return SolverResult(values[::step].copy(), vectors[:, ::step].copy())
