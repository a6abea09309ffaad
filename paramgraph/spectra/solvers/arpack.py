"""Lanczos with implicit restarts (ARPACK) on the operator itself, its wanted end turned up."""

from typing import Any

from paramgraph.spectra import EigenProblem, SolverResult, largest_pairs

RESTARTS = 500


def refusal(problem: EigenProblem) -> str:
    """Say why ARPACK cannot solve the problem.

    Parameters
    ----------
    problem : EigenProblem
        Any problem.

    Returns
    -------
    str
        Empty if it can; it needs fewer pairs than nodes.
    """
    return "" if problem.count < problem.nodes else f"ARPACK finds at most {problem.nodes - 1} pairs here"


def solve(problem: EigenProblem) -> SolverResult:
    r"""Solve by Lanczos iteration from a start vector drawn from the seed.

    .. math:: (b I - L) u = (b - \lambda) u, \qquad b \ge \lambda_{max}

    The number of products grows with the root of the ratio of b to the gap above the wanted pairs: some
    hundred on neighbour graphs, many thousand on chains, where `shift_invert` is the solver.

    Parameters
    ----------
    problem : EigenProblem
        With fewer pairs than nodes.

    Returns
    -------
    SolverResult
        O(edges + nodes x count) time for a product, O(edges + nodes x count) memory.

    Raises
    ------
    NotConvergedError
        After 500 restarts.

    References
    ----------
    .. [1] R. B. Lehoucq, D. C. Sorensen, C. Yang, "ARPACK Users' Guide", SIAM, 1998.
    """
    matrix, top = problem.matrix, problem.interval[1]
    if not problem.smallest:
        return largest_pairs(
            problem, lambda x: matrix @ x, lambda values: values, "Lanczos on A", restarts=RESTARTS
        )

    def apply(x: Any) -> Any:
        flipped = top * x - matrix @ x
        if problem.null is not None:
            # Below the interval by its scale: the null vector ends outside the pairs that are asked for.
            flipped -= (top + problem.scale) * (problem.null @ x) * problem.null
        return flipped

    return largest_pairs(
        problem, apply, lambda values: top - values, "Lanczos on bound - L", restarts=RESTARTS
    )
