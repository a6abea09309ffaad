"""Lanczos with implicit restarts (ARPACK), plain or shift-invert, as the graph asks for."""

import inspect
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, splu

from paramgraph.errors import NotConvergedError
from paramgraph.spectrum import EigenProblem, SolverResult

# A chain has mean degree 2, a grid 4: sparse factors stay sparse, and Lanczos on bound - L would need
# thousands of steps (ring of 4,096 nodes: 0.12 s against 4 to 14 s). On 10-NN graphs it is the reverse.
SHIFT_INVERT_DEGREE = 4.5
# Relative to the bound, just below zero: L is singular, so the shift must miss 0; the null vector, which the
# factorisation amplifies by 1 / shift, is projected out before and after.
SHIFT = -1e-5
RESTARTS = 500

# SciPy 1.17 draws new start vectors after a breakdown from `rng`; older versions from a seed of their own.
_HAS_RNG = "rng" in inspect.signature(eigsh).parameters


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
    """Solve by Lanczos iteration from a start vector drawn from the seed.

    Parameters
    ----------
    problem : EigenProblem
        With fewer pairs than nodes.

    Returns
    -------
    SolverResult
        Plain: O(edges) time for a product, O(nodes x count) memory. Shift-invert (smallest pairs of chains
        and grids): the memory of the sparse factors besides.

    Raises
    ------
    NotConvergedError
        After 500 restarts.

    References
    ----------
    .. [1] R. B. Lehoucq, D. C. Sorensen, C. Yang, "ARPACK Users' Guide", SIAM, 1998.
    """
    invert = problem.smallest and problem.null is not None and problem.mean_degree <= SHIFT_INVERT_DEGREE
    products = 0
    apply, back, note = _inverted(problem) if invert else _flipped(problem)

    def counted(x: Any) -> Any:
        nonlocal products
        products += 1
        return apply(x.reshape(-1))

    shape = (problem.nodes, problem.nodes)
    extra: dict[str, Any] = {"rng": np.random.default_rng(problem.seed)} if _HAS_RNG else {}
    try:
        values, vectors = eigsh(
            LinearOperator(shape, matvec=counted, dtype=np.float64),
            k=problem.count,
            which="LA",
            v0=problem.start(1)[:, 0],
            maxiter=RESTARTS,
            # A tenth: ARPACK's own test is on its Ritz estimate, ours on the true residual.
            tol=problem.tol / 10,
            **extra,
        )
    except ArpackNoConvergence as failure:
        raise NotConvergedError(
            f"ARPACK ({note}) found {len(failure.eigenvalues)} of {problem.count} pairs of {problem.nodes} "
            f"nodes in {RESTARTS} restarts; ask for fewer pairs, a larger tol, or solver='dense'"
        ) from failure
    order = np.argsort(-values, kind="stable")
    return SolverResult(back(values[order]), vectors[:, order], products, note)


def _flipped(problem: EigenProblem) -> Any:
    """Turn the wanted end up: A itself, or bound - L with the null vector sent below the spectrum."""
    matrix, top = problem.matrix, problem.interval[1]
    if not problem.smallest:
        return (lambda x: matrix @ x), (lambda values: values), "Lanczos on A"

    def apply(x: Any) -> Any:
        flipped = top * x - matrix @ x
        if problem.null is not None:
            flipped -= (top + 1) * (problem.null @ x) * problem.null
        return flipped

    return apply, (lambda values: top - values), "Lanczos on bound - L"


def _inverted(problem: EigenProblem) -> Any:
    """Turn the smallest eigenvalues into the largest by (L - shift)^-1, off the null vector."""
    shift = SHIFT * problem.scale
    shifted = sp.csc_array(problem.matrix) - shift * sp.eye_array(problem.nodes, format="csc")
    factors = splu(
        sp.csc_array(shifted),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,  # positive definite: no pivoting needed, and the fill-in stays small
        options={"SymmetricMode": True},
    )

    def apply(x: Any) -> Any:
        return problem.project(factors.solve(problem.project(x)))

    return apply, (lambda values: shift + 1 / values), f"shift-invert at {shift:.1g}"
