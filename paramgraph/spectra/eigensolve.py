"""Eigenpairs of a shift operator: write the zeros down, choose a solver, check what came back."""

import math
import warnings
from collections import Counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from paramgraph._checks import is_whole
from paramgraph.errors import NotConvergedError, PerformanceWarning, UnknownNameError, users_level
from paramgraph.graphs import Matrix
from paramgraph.spectra._certificate import certify_count
from paramgraph.spectra._components import Members, Pairs, solve_by_component
from paramgraph.spectra._lone_eigenvalue import lone_eigenvalue
from paramgraph.spectra._solver_choice import (
    DENSE_FALLBACK_NODES,
    choose_solvers,
    list_solvers,
    solver_modules,
)
from paramgraph.spectra.eigenproblem import EigenProblem, SolverResult
from paramgraph.spectra.shift_operator import ShiftOperator, check_operator, times_power
from paramgraph.spectra.spectrum import Spectrum, fix_signs

# A dense decomposition takes 2 s at 2,000 nodes and half a minute at 5,000.
SLOW_DENSE_NODES = 2000
# Of the largest eigenvalue, below which those of a component have lost half of their digits beside it.
SMALL_COMPONENT = 1e-8
# Of the largest eigenvalue: vectors of the "rw" Laplacian are those of the symmetric one over roots of degrees, where
# rounding of 1e-16 is all there is of an entry that has a degree of 1e-32 beside others of 1.
LOST_IN_SCALING = 1e-6

NOT_ASSURED = "not assured that none was passed over: eigenvalues lie too close to the last one to tell"

Seed = int | np.random.Generator


def eigenpairs(
    operator: ShiftOperator,
    k: int | None = None,
    solver: str = "auto",
    tol: float = 1e-8,
    certify: bool = False,
    seed: Seed = 0,
) -> Spectrum:
    r"""Find the k eigenpairs of lowest graph frequency.

    .. math:: L u_j = \lambda_j u_j, \qquad \|u_j\| = 1

    Laplacian: the k smallest eigenvalues, ascending. Adjacency: the k largest, descending, since its strong
    modes are its low graph frequencies. The null space of a Laplacian is written down from the connected
    components (of a signed one, from those that are balanced), with eigenvalues of exactly 0.0; the rest is
    solved component by component in its orthogonal complement, so that equal components cannot hide each
    other's eigenvalues. The "rw" Laplacian is solved through the symmetric one; its eigenvectors are right
    eigenvectors of unit norm, not orthogonal.

    What an iterative solver gives is searched for pairs that were passed over, equal and close eigenvalues as they
    are: what is missing is added, and overlooked with a chance of 1e-6 [1]_. Where the search cannot tell, since
    eigenvalues lie too close to the last one, "auto" solves up to 2,000 nodes densely; beyond, and with a named
    solver, `reason` says "not assured".

    Parameters
    ----------
    operator : ShiftOperator
        From `laplacian` or `adjacency`.
    k : int, optional
        Number of pairs; all of them by default. Where k cuts through equal eigenvalues, which vectors of that
        eigenspace are found is arbitrary.
    solver : str, default "auto"
        A name of `list_solvers()`. "auto" looks at components, nodes, pairs and the estimated fill-in
        of a factorization, falls back along its chain where a solver does not converge, and says in `reason`
        what ran and why. A named solver that cannot do a component, such as all pairs by ARPACK, leaves it to
        "dense", and says so.
    tol : float, default 1e-8
        Largest residual norm, relative to the bound of the operator.
    certify : bool, default False
        Prove by the inertia of the shifted matrix that no eigenvalue was missed: for components of up to
        2,000 nodes, and beyond where the estimated fill-in is small (rings, paths, grids; extra `certify`).
        Where the proof fails (a pair was missed) or cannot be made (an expander, no qdldl), nothing is raised:
        `certified` is False, and `reason` says which.
    seed : int or numpy.random.Generator, default 0
        Of the start vectors; the same seed gives the same vectors.

    Returns
    -------
    Spectrum
        Float64 tensors on the CPU. Dense: O(nodes^3) time, O(nodes^2) memory; otherwise O(edges + nodes x k)
        memory, with shift-invert the sparse factors besides.

    Raises
    ------
    ValueError
        If k is below 1 or above the number of nodes, or `tol` is negative.
    UnknownNameError
        If there is no such solver.
    NotConvergedError
        If a residual stays above the tolerance; it carries the residuals.
    TypeError
        If `operator` is not a shift operator, or `seed` neither int nor generator.

    Warns
    -----
    PerformanceWarning
        If some pairs of more than 2,000 nodes have to be taken from a dense decomposition.

    References
    ----------
    .. [1] J. Kuczynski, H. Wozniakowski, "Estimating the largest eigenvalue by the power and Lanczos algorithms
       with a random start", SIAM J. Matrix Anal. Appl. 13(4), 1992.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import laplacian
    >>> eigenpairs(laplacian(nx.complete_graph(4), normalization=None), k=2).eigenvalues.round(decimals=9)
    tensor([0., 4.], dtype=torch.float64)
    """
    _check(operator, solver, tol, seed)
    k = count_pairs(k, operator.nodes)
    symmetric, scale = operator.symmetrized()
    symmetric, exponent = symmetric.in_units()
    values, vectors, reports, iterations = _assemble(symmetric, k, solver, float(tol), seed)
    certified, remark = None, ""
    if certify:
        errors = np.linalg.norm(symmetric.matrix @ vectors - vectors * values, axis=0)
        certified, remark = certify_count(symmetric, values, float(errors.max(initial=0.0)))
        remark = f"; {remark}"
    elif any(NOT_ASSURED in reason for _, reason in reports):
        remark = "; certify=True counts them"
    if not operator.symmetric:
        vectors = vectors / scale[:, None]
        vectors /= np.abs(vectors).max(
            axis=0, initial=0.0
        )  # of the largest first: roots of degrees may be far apart
        vectors /= np.linalg.norm(vectors, axis=0)
    vectors = fix_signs(vectors)
    matrix = symmetric.matrix if operator.symmetric else operator.matrix
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    if (
        not operator.symmetric
        and not residuals.max(initial=0.0) <= max(tol, LOST_IN_SCALING) * operator.bound
    ):
        positive = operator.degrees[operator.degrees > 0]
        raise NotConvergedError(
            f"degrees from {positive.min():.2g} to {positive.max():.2g} are too far apart for eigenvectors of the 'rw' "
            "Laplacian in float64; drop the weakest edges, or take normalization='sym'",
            tuple(residuals.tolist()),
        )
    names = sorted({name for name, _ in reports})
    return Spectrum(
        torch.from_numpy(np.ldexp(values, exponent)),
        torch.from_numpy(vectors),
        torch.from_numpy(np.ldexp(residuals, exponent)),
        solver="+".join(names) if names else "closed form",
        reason=_reason(reports, operator) + remark,
        components=operator.components,
        certified=certified,
        iterations=iterations,
        kind=operator.kind,
        nullity=operator.nullity if operator.kind == "laplacian" else None,
    )


def _check(operator: ShiftOperator, solver: str, tol: float, seed: Seed) -> None:
    check_operator(operator, "eigenpairs")
    names = ["auto", *list_solvers()]
    if solver not in names:
        raise UnknownNameError.among("solver", solver, names)
    if not tol >= 0:
        raise ValueError(f"tol is a relative residual, 0 or larger; got {tol}")
    if not is_whole(seed) and not isinstance(seed, np.random.Generator):
        raise TypeError(f"seed is an int or a numpy.random.Generator, got {type(seed).__name__}")
    if is_whole(seed) and seed < 0:
        raise ValueError(f"seed is an int of 0 or above, got {seed}")


def count_pairs(k: int | None, nodes: int) -> int:
    """Check a number of pairs, 1 to `nodes`, or None for all: a TypeError or a ValueError."""
    if k is None:
        return nodes
    if not is_whole(k):
        raise TypeError(f"k is a number of eigenpairs (int) or None for all, got {k!r}")
    if not 1 <= k <= nodes:
        raise ValueError(f"k={k} eigenpairs of {nodes} nodes: k must be 1 to {nodes}, or None for all")
    return int(k)


def _assemble(
    operator: ShiftOperator, k: int, solver: str, tol: float, seed: Seed
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "nodes k"], Counter[tuple[str, str]], int | None]:
    """Solve each component, and take the k lowest graph frequencies of all; the zeros come first."""
    laplacian = operator.kind == "laplacian"
    zeros = min(k, operator.nullity) if laplacian else 0
    vectors = np.zeros((operator.nodes, k))
    if laplacian:
        vectors[:, :zeros] = operator.null_basis()[:, :zeros].toarray()
    reports: Counter[tuple[str, str]] = Counter()
    steps: list[int] = []
    null = operator.null_entries() if laplacian else None

    def solve(members: Members, block: Matrix) -> Pairs | None:
        known = null[members] if null is not None and null[members[0]] else None
        # As many as could be among the wanted.
        count = min(k - zeros, len(members) - (known is not None))
        if not count:
            return None
        block, interval, exponent = _in_own_units(operator, block)
        problem = EigenProblem(
            block, count, smallest=laplacian, interval=interval, null=known, tol=tol, seed=seed
        )
        name, reason, result = solve_problem(problem, solver)
        reports[name, reason] += 1
        if result.iterations is not None:
            steps.append(result.iterations)
        return np.ldexp(result.eigenvalues, exponent), result.eigenvectors

    values = np.zeros(0)
    if k > zeros:
        rest = vectors[:, zeros:]
        values = solve_by_component(operator.component_labels, (operator.matrix,), solve, not laplacian, rest)
    if laplacian:
        # The matrix is positive semidefinite; weights of 1e-16 between blocks can round an eigenvalue below 0.
        values = np.maximum(values, 0.0)
    return np.concatenate([np.zeros(zeros), values]), vectors, reports, sum(steps) if steps else None


def _in_own_units(operator: ShiftOperator, block: Matrix) -> tuple[Matrix, tuple[float, float], int]:
    """Divide a component of far smaller weights by a power of two, and give that and an interval of its own.

    Beside the others its eigenvalues would all be zero to working precision.
    """
    sizes: Any = abs(block)  # Any: of NumPy or of SciPy
    bound = float(sizes.sum(axis=1).max())  # Gershgorin
    if not 0 < bound < SMALL_COMPONENT * operator.bound:
        return block, operator.interval, 0
    exponent = math.frexp(bound)[1] - 2
    bound = math.ldexp(bound, -exponent)
    return times_power(block, -exponent), (0.0 if operator.kind == "laplacian" else -bound, bound), exponent


def solve_problem(problem: EigenProblem, solver: str) -> tuple[str, str, SolverResult]:
    """Run the named solver, or the chain of "auto"; refine and check what it gives."""
    modules = solver_modules()
    if solver == "auto":
        chain, reason = choose_solvers(problem)
    else:
        chain, reason = [solver], "asked for"
        refusal = modules[solver].refusal(problem)
        if refusal:
            chain, reason = ["dense"], f"asked for {solver}, but {refusal}"
    for name in chain:
        if name == "dense" and solver != "dense":
            _warn_of_dense(problem)
        try:
            result = _refine(problem, modules[name].solve(problem))
        except NotConvergedError as failure:
            if name == chain[-1]:
                raise
            reason += f"; {name} did not converge ({failure})"
            continue
        reason += f", {result.note}" if result.note else ""
        if result.assured:
            return name, reason, result
        if solver == "auto" and problem.nodes <= SLOW_DENSE_NODES:
            dense = modules["dense"].solve(problem)
            return "dense", f"{reason}; {name} could not tell whether that was all", dense
        return name, f"{reason}, {NOT_ASSURED}", result
    raise AssertionError("unreachable: a chain is never empty")


def smallest_eigenvalue(operator: ShiftOperator) -> float:
    """Find the smallest eigenvalue of a symmetric operator; raises where no solver converges, and gives no bound."""
    low, high = operator.interval
    if low == high:
        return low
    scaled, exponent = operator.in_units()
    problem = EigenProblem(scaled.matrix, 1, True, scaled.interval)
    result = solve_problem(problem, "auto")[2]
    value = math.ldexp(float(result.eigenvalues[0]), exponent)
    if not result.assured:
        raise NotConvergedError(
            f"{value:.6g} may not be the smallest eigenvalue of {operator.nodes} nodes: others lie too close to it to "
            "tell; a larger ridge, or a Laplacian, needs no such check"
        )
    return value


def is_proven_above(operator: ShiftOperator, level: float) -> bool:
    r"""Tell whether all eigenvalues are proven to be above a level; False says nothing.

    They are where the operator's interval is, or, of a dense one, where :math:`L - level I` has a Cholesky factor: a
    third of the cube of the nodes in operations, which are few beside those of Lanczos where, as of most Gram matrices,
    many eigenvalues lie close to the smallest.
    """
    if operator.interval[0] > level:
        return True
    if not operator.is_dense or operator.nodes > DENSE_FALLBACK_NODES:
        return False
    shifted = torch.from_numpy(operator.matrix - level * np.eye(operator.nodes))
    return not torch.linalg.cholesky_ex(shifted).info.item()


def second_eigenvalue(operator: ShiftOperator) -> float:
    """Find the smallest eigenvalue beside the zero of a connected graph's Laplacian, as `eigenpairs` does.

    Where that would take Lanczos, a half of it will do for a value without its vector.
    """
    scaled, exponent = operator.in_units()
    problem = EigenProblem(scaled.matrix, 1, True, scaled.interval, null=scaled.null_entries())
    if choose_solvers(problem)[0][0] == "arpack" and (value := lone_eigenvalue(problem)) is not None:
        return max(math.ldexp(value, exponent), 0.0)
    return float(eigenpairs(operator, k=2).eigenvalues[1])


def _warn_of_dense(problem: EigenProblem) -> None:
    """Say that some pairs of a large graph are taken from a dense decomposition; for all there is no other way."""
    if problem.nodes > SLOW_DENSE_NODES and problem.count < problem.nodes - (problem.null is not None):
        warnings.warn(
            f"{problem.count} pairs of {problem.nodes} nodes are taken from a dense decomposition, which grows "
            f"with the cube of the nodes; ask for fewer than an eighth ({problem.nodes // 8}), or a larger tol",
            PerformanceWarning,
            stacklevel=users_level(),
        )


def _refine(problem: EigenProblem, result: SolverResult) -> SolverResult:
    """Take the best pairs in the span of an iterative result (Rayleigh-Ritz), and check their residuals."""
    if result.iterations is not None:
        basis = np.linalg.qr(problem.project(result.eigenvectors))[0]
        small = basis.T @ (problem.matrix @ basis)
        values, rotation = np.linalg.eigh((small + small.T) / 2)
        step = 1 if problem.smallest else -1
        vectors = np.ascontiguousarray((basis @ rotation)[:, ::step])
        result = result._replace(eigenvalues=values[::step].copy(), eigenvectors=vectors)
    errors = np.linalg.norm(
        problem.matrix @ result.eigenvectors - result.eigenvectors * result.eigenvalues, axis=0
    )
    # No solver can go below the rounding of one product.
    allowed = max(problem.tol, 10 * problem.nodes * np.finfo(np.float64).eps) * problem.scale
    if not errors.max(initial=0.0) <= allowed:
        raise NotConvergedError(
            f"largest residual {errors.max():.2g} of {problem.count} pairs of {problem.nodes} nodes is above "
            f"{allowed:.2g}; ask for fewer pairs, a larger tol, or solver='dense'",
            tuple(errors.tolist()),
        )
    return result


def _reason(reports: Counter[tuple[str, str]], operator: ShiftOperator) -> str:
    """Join the reasons of all components."""
    if not operator.nodes:
        return "no nodes, no pairs"
    if not reports:
        return f"all pairs belong to the null space of {operator.nullity} components"
    each = "{}: {} ({} components)" if operator.components > 1 else "{}: {}"
    return "; ".join(each.format(name, reason, times) for (name, reason), times in reports.items())
