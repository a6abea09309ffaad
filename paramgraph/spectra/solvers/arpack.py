"""Lanczos with implicit restarts (ARPACK) on the operator itself, its wanted end turned up."""

import numpy as np

from paramgraph.spectra import EigenProblem, SolverResult, lanczos_refusal as refusal, largest_pairs

__all__ = ["refusal", "solve"]

RESTARTS = 500


def solve(problem: EigenProblem) -> SolverResult:
    r"""Solve by Lanczos iteration from a start vector drawn from the seed.

    .. math:: (b I - L) u = (b - \lambda) u, \qquad b \ge \lambda_{max}

    The number of products grows with the root of the ratio of b to the gap above the wanted pairs: some
    hundred on neighbour graphs, many thousand on chains, where `shift_invert` is the solver.
    """
    matrix, top = problem.matrix, problem.interval[1]
    if not problem.smallest:
        return largest_pairs(
            problem, lambda x: matrix @ x, lambda values: values, "Lanczos on A", restarts=RESTARTS
        )

    def apply(x: np.ndarray) -> np.ndarray:
        flipped: np.ndarray = top * x - matrix @ x
        if problem.null is not None:
            # Below the interval by its scale: the null vector ends outside the pairs that are asked for.
            flipped -= (top + problem.scale) * (problem.null @ x) * problem.null
        return flipped

    return largest_pairs(
        problem, apply, lambda values: top - values, "Lanczos on bound - L", restarts=RESTARTS
    )
