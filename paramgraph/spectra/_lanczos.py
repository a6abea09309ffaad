"""Lanczos iteration through ARPACK, and the search for pairs that a solver has passed over."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from paramgraph.errors import NotConvergedError
from paramgraph.spectra._components import Pairs
from paramgraph.spectra.eigenproblem import EigenProblem, SolverResult

Product = Callable[[np.ndarray], np.ndarray]
Finding = Literal["nothing", "a pair", "undecided"]

# That one search overlooks a pair. Its steps grow with the logarithm: 1e-4 would save a fifth of them.
CHANCE = 1e-6
# Neighbour graphs of 500 to 5,000 nodes take 80 to 190, a tenth of the time that their 16 or 32 pairs have taken.
# More are needed where the last pair lies close to the next.
SEARCH_STEPS = 500
# Of ARPACK, for what a block method has passed over.
RESTARTS = 500
# Of pairs found at once: ARPACK's time grows with the square.
BATCH = 64
# Of pairs found behind the last one, to see the next gap.
MOST_BEHIND = 128
# Of restarts for that; where the gap is that far, other means are cheaper.
LOOK_BEHIND = 50

# SciPy 1.17 draws new start vectors after a breakdown from `rng`; older versions from a seed of their own.
_HAS_RNG = "rng" in inspect.signature(eigsh).parameters


@dataclass(frozen=True, eq=False)
class Metric:
    """The positive definite M of A u = mu M u, its inverse, and a bound of its condition number."""

    times: Product
    solve: Product
    condition: float


def lanczos_refusal(problem: EigenProblem) -> str:
    """Refuse all pairs: Lanczos needs fewer pairs than nodes."""
    return "" if problem.count < problem.nodes else f"ARPACK finds at most {problem.nodes - 1} pairs here"


def flip(problem: EigenProblem) -> tuple[Product, Product, str]:
    r"""Turn the wanted end of a problem up: the product, the way back for eigenvalues, and what it is.

    .. math:: (b I - L) u = (b - \lambda) u, \qquad b \ge \lambda_{max}
    """
    matrix, top = problem.matrix, problem.interval[1]
    if not problem.smallest:
        return lambda x: matrix @ x, lambda values: values, "Lanczos on A"
    # Once, and not at each of some hundred products, whose vectors are short.
    flipped = (
        None if isinstance(matrix, np.ndarray) else top * sp.eye_array(problem.nodes, format="csr") - matrix
    )
    # Below the interval by its scale: the null vector ends outside the pairs that are asked for.
    null, drop = problem.null, top + problem.scale

    def apply(x: np.ndarray) -> np.ndarray:
        product: np.ndarray = top * x - matrix @ x if flipped is None else flipped @ x
        if null is not None:
            product -= drop * (null @ x) * null
        return product

    return apply, lambda values: top - values, "Lanczos on bound - L"


def largest_pairs(
    problem: EigenProblem,
    apply: Product,
    back: Product,
    note: str,
    restarts: int,
    metric: Metric | None = None,
) -> SolverResult:
    r"""Find the largest eigenvalues of an operator that turns the wanted end of a problem up.

    Lanczos from one start vector sees one vector of each eigenspace, and the others through rounding only.
    So a search from a new vector runs in the orthogonal complement of what was found, and while it meets a pair,
    or cannot tell, more pairs are found there, each time from a new vector. What it overlooks has a chance of 1e-6;
    where it cannot tell, the note says so.

    `apply` is the symmetric product with a vector, `back` turns its eigenvalues into those of the problem, `note` says
    what it is. With a `metric` M they are the pairs of apply(u) = mu M u, orthonormal in M. `iterations` of the result
    counts products; after `restarts` restarts [1]_ it raises a NotConvergedError.

    .. [1] R. B. Lehoucq, D. C. Sorensen, C. Yang, "ARPACK Users' Guide", SIAM, 1998.
    """
    lanczos = _Lanczos(problem, apply, note, restarts, metric)
    start, other = lanczos.starts()
    values, vectors = lanczos.run(problem.count, start, restarts)
    values, vectors, remark, assured = lanczos.complete(values, vectors, other)
    return SolverResult(back(values), vectors, lanczos.products, note + remark, assured)


def add_passed_over(problem: EigenProblem, result: SolverResult) -> SolverResult:
    """Search for what a block method has passed over, and add it; see `largest_pairs`."""
    apply, back, note = flip(problem)
    lanczos = _Lanczos(problem, apply, note, RESTARTS)
    # The way back is the way there.
    values, vectors, remark, assured = lanczos.complete(
        back(result.eigenvalues), result.eigenvectors, lanczos.starts()[0]
    )
    note = result.note + remark
    return result._replace(eigenvalues=back(values), eigenvectors=vectors, note=note, assured=assured)


class _Lanczos:
    """One operator whose largest pairs are wanted, orthonormal in the metric where there is one."""

    def __init__(
        self, problem: EigenProblem, apply: Product, note: str, restarts: int, metric: Metric | None = None
    ) -> None:
        self.problem, self.note, self.restarts, self.metric = problem, note, restarts, metric
        self._apply = apply
        self._rng = np.random.default_rng(problem.seed)
        self.products = 0

    def starts(self) -> Float[np.ndarray, "two nodes"]:
        """Draw a start vector for a run, and one for the search behind it: none serves twice."""
        return self.problem.project(self._rng.standard_normal((self.problem.nodes, 2))).T

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Multiply a vector by the operator, and count."""
        self.products += 1
        return self._apply(x.reshape(-1))

    def weigh(self, X: np.ndarray) -> np.ndarray:
        """Multiply a vector, or columns, by the metric."""
        return X if self.metric is None else self.metric.times(X)

    def complete(
        self,
        values: Float[np.ndarray, " count"],
        vectors: Float[np.ndarray, "nodes count"],
        start: np.ndarray,
    ) -> tuple[Float[np.ndarray, " count"], Float[np.ndarray, "nodes count"], str, bool]:
        """Add what was passed over; a remark says how many, and the truth value whether that is all."""
        count, batch = len(values), 1
        late = np.zeros(count, dtype=bool)
        while (finding := self.search(values, vectors, float(values[count - 1]), start)) != "nothing":
            free = self.problem.nodes - len(values) - (self.problem.null is not None)
            if free < 1:
                finding = "nothing"
                break
            if finding == "undecided" and len(values) + batch > count + MOST_BEHIND:
                break
            fresh, start = self.starts()
            restarts = self.restarts if finding == "a pair" else min(self.restarts, LOOK_BEHIND)
            try:
                more, others = self.run(min(batch, free), fresh, restarts, self.deflated(values, vectors))
            except NotConvergedError:
                if finding == "undecided":
                    break
                raise
            # Where nothing else is left, what was found comes back.
            new = np.linalg.norm(vectors.T @ self.weigh(others), axis=0) < 0.5
            if not new.any():
                finding = "nothing"
                break
            order = np.argsort(-np.concatenate([values, more[new]]), kind="stable")
            values = np.concatenate([values, more[new]])[order]
            vectors = np.concatenate([vectors, others[:, new]], axis=1)[:, order]
            late = np.concatenate([late, np.ones(int(new.sum()), dtype=bool)])[order]
            batch = min(2 * batch, BATCH)
        remark = f" ({late[:count].sum()} passed over, then added)" if late[:count].any() else ""
        return values[:count], vectors[:, :count], remark, finding == "nothing"

    def run(self, count: int, start: np.ndarray, restarts: int, apply: Product | None = None) -> Pairs:
        """Find the largest pairs, descending; a NotConvergedError carries the residuals of what was found."""
        problem = self.problem
        shape = (problem.nodes, problem.nodes)
        apply = apply or self.apply
        extra: dict[str, Any] = {"rng": self._rng} if _HAS_RNG else {}
        shift, metric = 0.0, self.metric
        if metric is not None:
            extra["M"] = LinearOperator(shape, matvec=metric.times, dtype=np.float64)
            extra["Minv"] = LinearOperator(shape, matvec=metric.solve, dtype=np.float64)
            # ARPACK multiplies the start vector by the operator first, which leaves no part of an eigenvalue 0:
            # so it is shifted by the size of its eigenvalues, twice their root mean square.
            image = apply(start)
            shift = 2 * math.sqrt(float(image @ metric.solve(image)) / float(start @ metric.times(start)))
            bare = apply

            def apply(x: np.ndarray) -> np.ndarray:
                return bare(x) + shift * metric.times(x.reshape(-1))

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
        except ArpackError as failure:
            # Without pairs where it broke down, as it can on operators of few distinct eigenvalues.
            values = getattr(failure, "eigenvalues", np.zeros(0))
            vectors = getattr(failure, "eigenvectors", np.zeros((problem.nodes, 0)))
            raise NotConvergedError(
                f"ARPACK ({self.note}) found {len(values)} of {count} pairs of {problem.nodes} "
                f"nodes in {restarts} restarts; ask for fewer pairs, a larger tol, or solver='dense'",
                self._residuals(values - shift, vectors),
            ) from failure
        order = np.argsort(-values, kind="stable")
        return values[order] - shift, vectors[:, order]

    def _residuals(self, values: np.ndarray, vectors: np.ndarray) -> tuple[float, ...]:
        pairs = zip(values, vectors.T, strict=True)
        return tuple(float(np.linalg.norm(self.apply(u) - value * self.weigh(u))) for value, u in pairs)

    def search(
        self,
        values: Float[np.ndarray, " found"],
        vectors: Float[np.ndarray, "nodes found"],
        last: float,
        start: Float[np.ndarray, " nodes"],
    ) -> Finding:
        r"""Look for an eigenvalue above `last` in the complement of what was found.

        The vectors of a Lanczos iteration are :math:`q_i = p_i(A) q_0` with polynomials of its coefficients.
        An eigenvector u of an eigenvalue :math:`\theta` has :math:`u^T q_i = p_i(\theta) u^T q_0`, which is at
        most 1. So as long as no Ritz value is above :math:`\theta`, the start vector holds no more than
        :math:`1 / p_i(\theta)` of u, or of any u beyond, while a random vector of n entries holds so little with
        a chance of :math:`\sqrt{2 n / \pi} / p_i(\theta)` only. Outside of the spectrum that remains, the
        polynomials grow fast: the bound of Kuczynski and Wozniakowski [1]_ made sharp for the spectrum at hand.

        The recurrence holds for each u by itself, whatever the q_i lose of their orthogonality, so no basis is kept.

        .. [1] J. Kuczynski, H. Wozniakowski, "Estimating the largest eigenvalue by the power and Lanczos
           algorithms with a random start", SIAM J. Matrix Anal. Appl. 13(4), 1992.
        """
        problem, metric = self.problem, self.metric
        largest = float(np.abs(values).max())
        # Within the tolerance, or the rounding of the largest, two values are one.
        level = last + max(problem.tol * abs(last), 1e-13 * largest)
        condition = 1.0 if metric is None else metric.condition
        needed = math.log(math.sqrt(2 * problem.nodes * condition / math.pi) / CHANCE)
        dual = self.weigh(vectors)
        q = start - vectors @ (dual.T @ start)
        before, coupling, pivot, grown = np.zeros_like(q), 0.0, 1.0, 0.0
        norm = math.sqrt(float(q @ self.weigh(q)))
        for _ in range(SEARCH_STEPS):
            q = q / norm
            image = self.apply(q)
            diagonal = float(q @ image)
            # Of the factorized level - T, and the ratio of p_i to the one before, times the coupling.
            pivot = level - diagonal - coupling * coupling / pivot
            if pivot <= 0:  # a Ritz value is above
                return "a pair"
            image = image if metric is None else metric.solve(image)
            following = image - diagonal * q - coupling * before
            following -= vectors @ (dual.T @ following)
            before, q = q, following
            norm = coupling = math.sqrt(max(float(q @ self.weigh(q)), 0.0))
            largest = max(largest, abs(diagonal))
            if coupling < 1e-13 * largest:  # an invariant subspace, with a part of each eigenspace
                return "nothing"
            grown += math.log(pivot / coupling)
            if grown > needed:
                return "nothing"
        return "undecided"

    def deflated(self, values: np.ndarray, vectors: np.ndarray) -> Product:
        """Send the pairs found far below the others."""
        drop = 2 * float(np.abs(values).max())
        dual = self.weigh(vectors)

        def product(x: np.ndarray) -> np.ndarray:
            along = dual.T @ x.reshape(-1)
            y = self.apply(x.reshape(-1) - vectors @ along)
            lowered: np.ndarray = y - dual @ (vectors.T @ y + drop * along)
            return lowered

        return product
