"""Lanczos with implicit restarts (ARPACK) on the operator itself, its wanted end turned up."""

from paramgraph.spectra import EigenProblem, SolverResult, flip, lanczos_refusal as refusal, largest_pairs

__all__ = ["refusal", "solve"]

RESTARTS = 500


def solve(problem: EigenProblem) -> SolverResult:
    r"""Solve by Lanczos iteration from a start vector drawn from the seed.

    .. math:: (b I - L) u = (b - \lambda) u, \qquad b \ge \lambda_{max}

    The number of products grows with the root of the ratio of b to the gap above the wanted pairs: some
    hundred on neighbour graphs, many thousand on chains, where `shift_invert` is the solver.
    """
    apply, back, note = flip(problem)
    return largest_pairs(problem, apply, back, note, restarts=RESTARTS)
