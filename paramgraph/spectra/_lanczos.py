"""Lanczos iteration through ARPACK, and the check that it has not passed over a pair."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from paramgraph.errors import NotConvergedError
from paramgraph.spectra._components import Pairs
from paramgraph.spectra.eigenproblem import EigenProblem, SolverResult

Product = Callable[[np.ndarray], np.ndarray]

# Steps of the check: a Ritz value of this many resolves what is missing well before the last pair asked for,
# at a tenth of the products that the pairs themselves have taken (136 to 430 on neighbour graphs, 16 pairs).
CHECK_STEPS = 16

# SciPy 1.17 draws new start vectors after a breakdown from `rng`; older versions from a seed of their own.
_HAS_RNG = "rng" in inspect.signature(eigsh).parameters


class _Counter:
    """Count the products of an operator."""

    def __init__(self, apply: Product) -> None:
        self.apply = apply
        self.products = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.products += 1
        return self.apply(x.reshape(-1))


def lanczos_refusal(problem: EigenProblem) -> str:
    """Refuse all pairs: Lanczos needs fewer pairs than nodes."""
    return "" if problem.count < problem.nodes else f"ARPACK finds at most {problem.nodes - 1} pairs here"


def largest_pairs(
    problem: EigenProblem, apply: Product, back: Product, note: str, restarts: int
) -> SolverResult:
    r"""Find the largest eigenvalues of an operator that turns the wanted end of a problem up.

    Lanczos from one start vector sees one vector of each eigenspace, and the others through rounding only.
    So a second, short iteration runs in the orthogonal complement of what was found: its Ritz values are
    lower bounds of the largest eigenvalue there, and one above the last pair shows that a pair was passed
    over, which is then added. A proof is the certificate, not this.

    `apply` is the symmetric product with a vector, `back` turns its eigenvalues into those of the problem, `note` says
    what it is. `iterations` of the result counts products; after `restarts` restarts [1]_ it raises
    a NotConvergedError.

    .. [1] R. B. Lehoucq, D. C. Sorensen, C. Yang, "ARPACK Users' Guide", SIAM, 1998.
    """
    counted = _Counter(apply)
    rng = np.random.default_rng(problem.seed)
    starts = problem.project(rng.standard_normal((problem.nodes, 2)))
    values, vectors = _eigsh(problem, counted, problem.count, starts[:, 0], note, restarts)
    added = 0
    while added <= problem.nodes and _has_passed_over(problem, counted, values, vectors, starts[:, 1]):
        more = _eigsh(problem, _deflated(counted, values, vectors), 1, starts[:, 1], note, restarts)
        order = np.argsort(-np.concatenate([values, more[0]]), kind="stable")[: problem.count]
        values = np.concatenate([values, more[0]])[order]
        vectors = np.concatenate([vectors, more[1]], axis=1)[:, order]
        added += 1
    if added:
        note += f" ({added} passed over, then added)"
    return SolverResult(back(values), vectors, counted.products, note)


def _eigsh(
    problem: EigenProblem, apply: Product, count: int, start: np.ndarray, note: str, restarts: int
) -> Pairs:
    shape = (problem.nodes, problem.nodes)
    extra: dict[str, Any] = {"rng": np.random.default_rng(problem.seed)} if _HAS_RNG else {}
    try:
        values, vectors = eigsh(
            LinearOperator(shape, matvec=apply, dtype=np.float64),
            k=count,
            which="LA",
            v0=start,
            maxiter=restarts,
            # A tenth: ARPACK's own test is on its Ritz estimate, ours on the true residual.
            tol=problem.tol / 10,
            **extra,
        )
    except ArpackNoConvergence as failure:
        raise NotConvergedError(
            f"ARPACK ({note}) found {len(failure.eigenvalues)} of {count} pairs of {problem.nodes} "
            f"nodes in {restarts} restarts; ask for fewer pairs, a larger tol, or solver='dense'",
            _residuals(apply, failure.eigenvalues, failure.eigenvectors),
        ) from failure
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]


def _residuals(apply: Product, values: np.ndarray, vectors: np.ndarray) -> tuple[float, ...]:
    errors = [apply(vectors[:, j]) - value * vectors[:, j] for j, value in enumerate(values)]
    return tuple(float(np.linalg.norm(error)) for error in errors)


def _has_passed_over(
    problem: EigenProblem,
    apply: Product,
    values: Float[np.ndarray, " count"],
    vectors: Float[np.ndarray, "nodes count"],
    start: Float[np.ndarray, " nodes"],
) -> bool:
    """Look for an eigenvalue above the last one in the orthogonal complement."""
    free = problem.nodes - len(values) - (problem.null is not None)
    steps = min(CHECK_STEPS, free)
    if steps < 1:
        return False
    found = vectors if problem.null is None else np.column_stack([problem.null, vectors])
    basis = np.zeros((problem.nodes, steps))
    diagonal, beside = [], []
    q = start - found @ (found.T @ start)
    q = q - found @ (found.T @ q)
    for step in range(steps):
        norm = float(np.linalg.norm(q))
        if step:
            if norm < 1e-10 * abs(values[0]):  # an invariant subspace: its Ritz values are eigenvalues
                break
            beside.append(norm)
        basis[:, step] = q / norm
        q = apply(basis[:, step])
        diagonal.append(float(basis[:, step] @ q))
        for _ in range(2):  # once loses orthogonality, twice is enough
            q = q - found @ (found.T @ q)
            q = q - basis[:, : step + 1] @ (basis[:, : step + 1].T @ q)
    largest = float(scipy.linalg.eigvalsh_tridiagonal(np.array(diagonal), np.array(beside))[-1])
    # The vectors found are good to the tolerance, and so is their complement.
    return largest > float(values[-1] + 10 * max(problem.tol, 1e-14) * np.abs(values).max())


def _deflated(apply: Product, values: np.ndarray, vectors: np.ndarray) -> Product:
    """Send the pairs found far below the others."""
    drop = 2 * float(np.abs(values).max())

    def product(x: np.ndarray) -> np.ndarray:
        along = vectors.T @ x
        y = apply(x - vectors @ along)
        lowered: np.ndarray = y - vectors @ (vectors.T @ y + drop * along)
        return lowered

    return product
