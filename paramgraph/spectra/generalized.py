"""Generalized eigenpairs of two operators on the same nodes: what one graph is strong in and the other is not."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int64
from scipy.sparse.linalg import cg, splu

from paramgraph._checks import is_number
from paramgraph.errors import NotConvergedError, UnknownNameError
from paramgraph.graphs import Matrix, component_labels
from paramgraph.spectra._components import Members, Pairs, solve_by_component
from paramgraph.spectra._lanczos import Metric, largest_pairs
from paramgraph.spectra.eigenproblem import EigenProblem
from paramgraph.spectra.eigensolve import NOT_ASSURED, Seed, count_pairs, smallest_eigenvalue
from paramgraph.spectra.fill_in import estimate_fill_in
from paramgraph.spectra.shift_operator import ShiftOperator, check_operator, times_power
from paramgraph.spectra.spectrum import Spectrum, fix_signs

# One thread: two dense matrices of 500 nodes take 0.1 s.
DENSE_NODES = 500
# What "auto" solves densely where Lanczos does not converge: 3 s.
DENSE_FALLBACK_NODES = 2000
RESTARTS = 500
# Of the factor of B, 12 bytes each; with more, B is inverted by conjugate gradients.
FACTOR_ENTRIES = 20_000_000


def generalized_eigenpairs(
    operator: ShiftOperator,
    reference: ShiftOperator,
    k: int | None = None,
    ridge: float = 0.0,
    solver: Literal["auto", "dense", "arpack"] = "auto",
    tol: float = 1e-8,
    seed: Seed = 0,
) -> Spectrum:
    r"""Find the k generalized eigenpairs of lowest graph frequency of two operators on the same nodes.

    .. math:: A u_j = \mu_j (B + \rho I) u_j, \qquad u_i^T (B + \rho I) u_j = \delta_{ij}

    The stationary values of :math:`u^T A u / u^T (B + \rho I) u`: with two adjacencies, such as the Gram
    matrices of a task and of what is to be preserved, the first modes are strong in A and weak in B. As for
    `eigenpairs`, an adjacency A gives its largest values, descending, and a Laplacian A its smallest,
    ascending; the kind of B does not matter.

    Parameters
    ----------
    operator : ShiftOperator
        A; symmetric, so not a "rw" Laplacian.
    reference : ShiftOperator
        B, on the same nodes; symmetric.
    k : int, optional
        Number of pairs; all of them by default.
    ridge : float, default 0.0
        :math:`\rho`, in the units of B. B + ridge I must be positive definite: a Laplacian needs a ridge above
        0, and so does a Gram matrix of fewer features than nodes.
    solver : {"auto", "dense", "arpack"}, default "auto"
        "auto" splits the nodes into the components of both graphs together, and solves those of up to 500
        nodes, or of which an eighth of the pairs is wanted, densely, others by Lanczos.
    tol : float, default 1e-8
        Largest residual norm of a vector of unit norm, relative to the bounds of both sides.
    seed : int or numpy.random.Generator, default 0
        Of the start vectors.

    Returns
    -------
    Spectrum
        Its eigenvectors are orthonormal with respect to B + ridge I, not of unit norm; `residuals` are norms of
        A u - mu (B + ridge I) u; `components` are those of both graphs together; `kind` is that of A. Dense:
        O(nodes^3) time, O(nodes^2) memory; Lanczos: O(edges + nodes x k) memory, and the sparse factor of B
        where its estimated fill-in is small, else conjugate gradients.

    Raises
    ------
    ValueError
        If B + ridge I is not positive definite (raise `ridge`), the operators have different nodes or are not
        symmetric, or k, `ridge` or `tol` is out of range.
    UnknownNameError
        If there is no such solver.
    NotConvergedError
        If a residual stays above the tolerance; it carries the residuals.
    TypeError
        If one of the two is no shift operator.

    References
    ----------
    .. [1] G. H. Golub, C. F. Van Loan, "Matrix Computations", Johns Hopkins, 2013, section 8.7.

    Examples
    --------
    >>> from paramgraph import adjacency
    >>> task, preserve = adjacency(np.diag([4.0, 3.0, 2.0])), adjacency(np.diag([3.0, 1.0, 0.0]))
    >>> generalized_eigenpairs(task, preserve, k=2, ridge=1.0).eigenvalues
    tensor([2.0000, 1.5000], dtype=torch.float64)
    """
    if solver not in ("auto", "dense", "arpack"):
        raise UnknownNameError.among("generalized solver", solver, ["auto", "dense", "arpack"])
    if not tol >= 0:
        raise ValueError(f"tol is a relative residual, 0 or larger; got {tol}")
    ridge = check_pencil(operator, reference, ridge)
    k = count_pairs(k, operator.nodes)
    scaled, up = operator.in_units()
    metric_bound = reference.bound + ridge
    # Even, since eigenvectors have the root of the unit of B.
    under = 2 * (math.frexp(metric_bound)[1] // 2)
    metric = times_power(_plus_ridge(reference.matrix, ridge), -under)
    labels = _joint_components(operator, reference)
    # `check_pencil` has made sure of the second.
    least = max(reference.interval[0] + ridge, _rounding(reference, ridge))
    condition = metric_bound / least if least else 1.0
    names: set[str] = set()
    notes: set[str] = set()
    descending = operator.kind == "adjacency"

    def solve(members: Members, matrix: Matrix, block: Matrix) -> Pairs:
        problem = EigenProblem(
            matrix, min(k, len(members)), not descending, scaled.interval, None, float(tol), seed
        )
        name, note, found = _solve(problem, block, condition, solver)
        names.add(name)
        notes.add(note)
        return found

    vectors = np.zeros((operator.nodes, k))
    values = solve_by_component(labels, (scaled.matrix, metric), solve, descending, vectors)
    vectors = fix_signs(vectors)
    errors = np.linalg.norm(scaled.matrix @ vectors - (metric @ vectors) * values, axis=0)
    _check_residuals(errors, values, vectors, scaled.bound, math.ldexp(metric_bound, -under), float(tol))
    components = int(labels.max(initial=-1)) + 1
    return Spectrum(
        torch.from_numpy(np.ldexp(values, up - under)),
        torch.from_numpy(np.ldexp(vectors, -under // 2)),
        torch.from_numpy(np.ldexp(errors, up - under // 2)),
        solver="+".join(sorted(names)) or "closed form",
        reason=f"{k} generalized pairs of {operator.nodes} nodes in {components} joint components, ridge {ridge:g}"
        + "".join(f"; {note}" for note in sorted(notes) if note),
        components=components,
        kind=operator.kind,
        # B + ridge I is definite, so the zeros are those of A alone, whatever B connects.
        nullity=operator.nullity if operator.kind == "laplacian" else None,
    )


def _plus_ridge(matrix: Matrix, ridge: float) -> Matrix:
    if isinstance(matrix, np.ndarray):
        return matrix + ridge * np.eye(len(matrix))
    return sp.csr_array(matrix + ridge * sp.eye_array(matrix.shape[0], format="csr"))


def _joint_components(operator: ShiftOperator, reference: ShiftOperator) -> Int64[np.ndarray, " nodes"]:
    """Label the components of both graphs together, in O(nodes) from those of each."""
    nodes = operator.nodes
    if not nodes:
        return np.zeros(0, dtype=np.int64)
    pairs = (operator.component_labels, reference.component_labels)
    # Components of one graph and of the other are linked by the nodes that they share.
    shared = sp.coo_array(
        (np.ones(nodes), (pairs[0], operator.components + pairs[1])),
        shape=(operator.components + reference.components,) * 2,
    )
    labels = component_labels(shared)[pairs[0]]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _solve(problem: EigenProblem, metric: Matrix, condition: float, solver: str) -> tuple[str, str, Pairs]:
    few = problem.count < problem.nodes
    wide = problem.nodes > DENSE_NODES and 8 * problem.count <= problem.nodes
    if not (few and (solver == "arpack" or (solver == "auto" and wide))):
        return "dense", "", _solve_densely(problem, metric)
    last_word = solver == "arpack" or problem.nodes > DENSE_FALLBACK_NODES
    try:
        assured, note, pairs = _solve_iteratively(problem, metric, condition)
    except NotConvergedError as failure:
        if last_word:
            raise
        return "dense", f"arpack did not converge ({failure})", _solve_densely(problem, metric)
    if assured or last_word:
        return "arpack", note if assured else f"{note}, {NOT_ASSURED}", pairs
    return "dense", f"{note}; arpack could not tell whether that was all", _solve_densely(problem, metric)


def _solve_densely(problem: EigenProblem, metric: Matrix) -> Pairs:
    left, right = (
        each if isinstance(each, np.ndarray) else each.toarray() for each in (problem.matrix, metric)
    )
    first = 0 if problem.smallest else problem.nodes - problem.count
    values, vectors = scipy.linalg.eigh(
        left, right, subset_by_index=[first, first + problem.count - 1], check_finite=False
    )
    step = 1 if problem.smallest else -1
    return values[::step], vectors[:, ::step]


def _solve_iteratively(problem: EigenProblem, metric: Matrix, condition: float) -> tuple[bool, str, Pairs]:
    sign = -1.0 if problem.smallest else 1.0
    found = largest_pairs(
        problem,
        lambda x: sign * (problem.matrix @ x),
        lambda values: sign * values,
        "Lanczos on A in the metric of B + ridge I",
        RESTARTS,
        Metric(lambda x: metric @ x, _inverse(metric), condition),
    )
    vectors = found.eigenvectors
    # The best pairs in the span, orthonormal to rounding.
    small = vectors.T @ (problem.matrix @ vectors), vectors.T @ (metric @ vectors)
    values, rotation = scipy.linalg.eigh(*((each + each.T) / 2 for each in small))
    step = 1 if problem.smallest else -1
    return found.assured, found.note, (values[::step], (vectors @ rotation)[:, ::step])


def _inverse(metric: Matrix) -> Callable[[np.ndarray], np.ndarray]:
    """Invert B + ridge I: by its factor where that fits, else by conjugate gradients."""
    if isinstance(metric, np.ndarray):
        factor = scipy.linalg.cho_factor(metric, check_finite=False)
        return lambda x: scipy.linalg.cho_solve(factor, x, check_finite=False)
    if estimate_fill_in(metric).entries <= FACTOR_ENTRIES:
        factors = splu(
            sp.csc_array(metric),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        return lambda x: factors.solve(np.asarray(x).reshape(-1))
    jacobi = sp.diags_array(1 / metric.diagonal(), format="csr")

    def by_gradients(x: np.ndarray) -> np.ndarray:
        # ARPACK takes the inverse to be exact: two digits beyond the smallest tolerance that is asked for.
        solution, failed = cg(metric, x, rtol=1e-12, atol=0.0, M=jacobi, maxiter=10 * metric.shape[0])
        if failed:
            raise NotConvergedError("conjugate gradients on B + ridge I did not converge; raise ridge")
        return solution

    return by_gradients


def _check_residuals(
    errors: Float[np.ndarray, " k"],
    values: Float[np.ndarray, " k"],
    vectors: Float[np.ndarray, "nodes k"],
    bound: float,
    metric_bound: float,
    tol: float,
) -> None:
    norms = np.linalg.norm(vectors, axis=0)
    scale = (bound + np.abs(values) * metric_bound) * norms
    allowed = max(tol, 10 * vectors.shape[0] * np.finfo(np.float64).eps) * np.where(scale > 0, scale, 1.0)
    if (errors <= allowed).all():
        return
    worst = float(np.max(errors / np.where(allowed > 0, allowed, math.inf)))
    raise NotConvergedError(
        f"the largest residual of {len(values)} generalized pairs is {worst:.2g} times what tol={tol:g} allows; "
        "ask for a larger tol or ridge, or solver='dense'",
        tuple(errors.tolist()),
    )


def check_pencil(operator: ShiftOperator, reference: ShiftOperator, ridge: float) -> float:
    """Check that two operators make a definite pencil, same nodes, symmetric, B + ridge I positive; give the ridge.

    Definite to working precision; a TypeError is raised for what is no operator or no number, else a ValueError.
    """
    for each in (operator, reference):
        check_operator(each, "generalized_eigenpairs", "two shift operators")
        if not each.symmetric:
            raise ValueError(
                "a generalized problem needs symmetric operators, got the 'rw' Laplacian; use "
                "laplacian(graph, normalization='sym')"
            )
    if operator.nodes != reference.nodes:
        raise ValueError(
            f"both operators act on the same nodes, got {operator.nodes} and {reference.nodes} nodes"
        )
    if not is_number(ridge):
        raise TypeError(f"ridge is a number, got {ridge!r}")
    if not (math.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge is a finite number, 0 or larger; got {ridge}")
    if reference.nodes:
        _check_definite(reference, float(ridge))
    return float(ridge)


def _rounding(reference: ShiftOperator, ridge: float) -> float:
    """Give the least eigenvalue of a B + ridge I that is definite to working precision."""
    return 10 * reference.nodes * np.finfo(np.float64).eps * (reference.bound + ridge)


def _check_definite(reference: ShiftOperator, ridge: float) -> None:
    least = _rounding(reference, ridge)
    if reference.interval[0] + ridge > least:
        return  # proven without a solve
    known = reference.kind == "laplacian" and reference.nullity
    smallest = ridge if known else smallest_eigenvalue(reference) + ridge
    if not smallest > least:
        raise ValueError(
            f"B + ridge I is not positive definite: its smallest eigenvalue is {smallest:.4g} with "
            f"ridge={ridge:g}; raise ridge above {max(ridge - smallest, 0.0) + least:.2g}"
        )
