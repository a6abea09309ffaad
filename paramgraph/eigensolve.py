"""Eigenpairs of a shift operator: write the zeros down, choose a solver, check what came back."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float

import paramgraph.solvers
from paramgraph.errors import NotConvergedError, UnknownNameError
from paramgraph.shift_operator import ShiftOperator
from paramgraph.spectrum import EigenProblem, SolverResult, Spectrum, fix_signs

# One thread: 1,000 nodes take 0.3 s dense, and no pair is ever missed; Lanczos for 64 pairs takes 0.03 s
# there, but dense takes 2 s at 2,000 nodes and half a minute at 5,000.
DENSE_NODES = 1000
# Beyond, a dense matrix alone takes 0.5 GB, so `auto` leaves it to the one who asks for it.
DENSE_FALLBACK_NODES = 8192
# The inertia of a dense matrix: 2 s at 2,000 nodes.
CERTIFIED_NODES = 2000


@cache
def _solvers() -> dict[str, ModuleType]:
    found = pkgutil.iter_modules(paramgraph.solvers.__path__)
    return {entry.name: importlib.import_module(f"paramgraph.solvers.{entry.name}") for entry in found}


def list_solvers() -> list[str]:
    """Name the eigensolvers, one for each file of `paramgraph/solvers`.

    Returns
    -------
    list of str
        Sorted names.

    Examples
    --------
    >>> list_solvers()
    ['arpack', 'dense', 'lobpcg']
    """
    return sorted(_solvers())


def eigenpairs(
    operator: ShiftOperator,
    k: Any = None,
    solver: str = "auto",
    tol: Any = 1e-8,
    certify: bool = False,
    seed: Any = 0,
) -> Spectrum:
    r"""Find the k eigenpairs of lowest graph frequency.

    .. math:: L u_j = \lambda_j u_j, \qquad \|u_j\| = 1

    Laplacian: the k smallest eigenvalues, ascending. Adjacency: the k largest, descending, since its strong
    modes are its low graph frequencies. The null space of a Laplacian is written down from the connected
    components, with eigenvalues of exactly 0.0; the rest is solved component by component in its orthogonal
    complement, so that equal components cannot hide each other's eigenvalues. The "rw" Laplacian is solved
    through the symmetric one; its eigenvectors are right eigenvectors of unit norm, not orthogonal.

    Parameters
    ----------
    operator : ShiftOperator
        From `laplacian` or `adjacency`.
    k : int, optional
        Number of pairs; all of them by default. Where k cuts through equal eigenvalues, which vectors of that
        eigenspace are found is arbitrary.
    solver : str, default "auto"
        A name of `list_solvers()`. "auto" looks at nodes, pairs and edges, falls back where a solver does not
        converge, and says in `reason` what ran and why. A named solver that cannot do a component, such as
        all pairs by ARPACK, leaves it to "dense", and says so.
    tol : float, default 1e-8
        Largest residual norm, relative to the bound of the operator.
    certify : bool, default False
        Prove by the inertia of the shifted matrix that no eigenvalue was missed; up to 2,000 nodes.
    seed : int or numpy.random.Generator, default 0
        Of the start vectors; the same seed gives the same vectors.

    Returns
    -------
    Spectrum
        Float64 tensors on the CPU. Dense: O(nodes^3) time, O(nodes^2) memory; otherwise O(nodes x k) memory.

    Raises
    ------
    ValueError
        If k is below 1 or above the number of nodes, or `tol` is negative.
    UnknownNameError
        If there is no such solver.
    NotConvergedError
        If a residual stays above the tolerance; it carries the residuals.
    TypeError
        If `operator` is not a shift operator.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph.shifts import laplacian
    >>> eigenpairs(laplacian(nx.complete_graph(4), normalization=None), k=2).eigenvalues
    tensor([0., 4.], dtype=torch.float64)
    """
    _check(operator, solver, tol)
    k = _count(k, operator.nodes)
    symmetric, scale = operator.symmetrized()
    values, vectors, reports, iterations = _assemble(symmetric, k, solver, float(tol), seed)
    certified, remark = _certificate(symmetric, values, k) if certify else (None, "")
    if not operator.symmetric:
        vectors = vectors / scale[:, None]
        vectors /= np.linalg.norm(vectors, axis=0)
    vectors = fix_signs(vectors)
    residuals = np.linalg.norm(operator.matrix @ vectors - vectors * values, axis=0)
    names = sorted({name for name, _ in reports})
    return Spectrum(
        torch.from_numpy(values),
        torch.from_numpy(vectors),
        torch.from_numpy(residuals),
        solver="+".join(names) if names else "closed form",
        reason=_reason(reports, operator) + remark,
        components=operator.components,
        certified=certified,
        iterations=iterations,
        kind=operator.kind,
    )


def _check(operator: Any, solver: str, tol: Any) -> None:
    if not isinstance(operator, ShiftOperator):
        raise TypeError(
            f"eigenpairs takes a shift operator, got {type(operator).__name__}; call laplacian(graph) first"
        )
    names = ["auto", *list_solvers()]
    if solver not in names:
        raise UnknownNameError.among("solver", solver, names)
    if not tol >= 0:
        raise ValueError(f"tol is a relative residual, 0 or larger; got {tol}")


def _count(k: Any, nodes: int) -> int:
    if k is None:
        return nodes
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k is a number of eigenpairs (int) or None for all, got {k!r}")
    if not 1 <= k <= nodes:
        raise ValueError(f"k={k} eigenpairs of {nodes} nodes: k must be 1 to {nodes}, or None for all")
    return int(k)


def _assemble(operator: ShiftOperator, k: int, solver: str, tol: float, seed: Any) -> Any:
    """Solve each component, and take the k lowest graph frequencies of all; the zeros come first."""
    laplacian = operator.kind == "laplacian"
    zeros = min(k, operator.components) if laplacian else 0
    values = [np.zeros(zeros)]
    vectors = np.zeros((operator.nodes, k))
    if laplacian:
        vectors[:, :zeros] = operator.null_basis()[:, :zeros].toarray()
    reports: Counter[tuple[str, str]] = Counter()
    found: list[tuple[Any, SolverResult]] = []
    for members, problem in _problems(operator, k - zeros, tol, seed) if k > zeros else ():
        name, reason, result = _solve(problem, solver)
        reports[name, reason] += 1
        found.append((members, result))
    pairs = [
        (part, column) for part, (_, result) in enumerate(found) for column in range(len(result.eigenvalues))
    ]
    unsorted = np.concatenate([result.eigenvalues for _, result in found]) if found else np.zeros(0)
    order = np.argsort(unsorted if laplacian else -unsorted, kind="stable")[: k - zeros]
    for target, source in enumerate(order, start=zeros):
        part, column = pairs[source]
        members, result = found[part]
        vectors[members, target] = result.eigenvectors[:, column]
    # The matrix is positive semidefinite; weights of 1e-16 between blocks can round an eigenvalue below 0.
    values.append(np.maximum(unsorted[order], 0.0) if laplacian else unsorted[order])
    steps = [result.iterations for _, result in found if result.iterations is not None]
    return np.concatenate(values), vectors, reports, sum(steps) if steps else None


def _problems(
    operator: ShiftOperator, wanted: int, tol: float, seed: Any
) -> Iterator[tuple[Any, EigenProblem]]:
    """Cut the operator into its components, each with the number of pairs that could be among the wanted."""
    laplacian = operator.kind == "laplacian"
    labels = operator.component_labels
    sizes = np.bincount(labels, minlength=operator.components)
    order, ends = np.argsort(labels, kind="stable"), np.cumsum(sizes)
    matrix = operator.matrix if operator.components == 1 else operator.matrix[order][:, order]
    null = operator.null_basis().data if laplacian else None
    for size, end in zip(sizes.tolist(), ends.tolist(), strict=True):
        count = min(wanted, size - laplacian)
        if count:
            part = slice(end - size, end)
            members = order[part]
            yield (
                members,
                EigenProblem(
                    matrix if operator.components == 1 else matrix[part, part],
                    count,
                    smallest=laplacian,
                    interval=operator.interval,
                    null=None if null is None else null[members],
                    tol=tol,
                    seed=seed,
                ),
            )


def _solve(problem: EigenProblem, solver: str) -> tuple[str, str, SolverResult]:
    """Run the named solver, or the chain of "auto"; refine and check what it gives."""
    if solver == "auto":
        chain, reason = _choose(problem)
    else:
        chain, reason = [solver], "asked for"
        refusal = _solvers()[solver].refusal(problem)
        if refusal:
            chain, reason = ["dense"], f"asked for {solver}, but {refusal}"
    for name in chain:
        try:
            result = _refine(problem, _solvers()[name].solve(problem))
            return name, reason + (f", {result.note}" if result.note else ""), result
        except NotConvergedError as failure:
            if name == chain[-1]:
                raise
            reason += f"; {name} did not converge ({failure})"
    raise AssertionError("unreachable: a chain is never empty")


def _choose(problem: EigenProblem) -> tuple[list[str], str]:
    """Order the solvers for a problem, the best first, with the reason for the first."""
    nodes, count = problem.nodes, problem.count
    if nodes <= DENSE_NODES:
        return ["dense"], f"no more than {DENSE_NODES} nodes"
    if 8 * count > nodes and nodes <= DENSE_FALLBACK_NODES:
        return ["dense"], f"{count} pairs are more than an eighth of {nodes} nodes"
    chain = ["arpack", "lobpcg", *(["dense"] if nodes <= DENSE_FALLBACK_NODES else [])]
    chain = [name for name in chain if not _solvers()[name].refusal(problem)] or ["dense"]
    return chain, f"{count} pairs of {nodes} nodes, mean degree {problem.mean_degree:.3g}"


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


def _certificate(operator: ShiftOperator, values: Float[np.ndarray, "modes"], k: int) -> tuple[bool, str]:
    """Count the eigenvalues before the last cluster by Sylvester's law of inertia."""
    if k == operator.nodes:
        return True, "; certified: all pairs"
    if operator.nodes > CERTIFIED_NODES:
        return False, f"; not certified: {operator.nodes} nodes are more than {CERTIFIED_NODES}"
    flip = 1.0 if operator.kind == "laplacian" else -1.0
    ascending = flip * values
    # Within a cluster of equal eigenvalues any choice is right: count just before the last cluster.
    width = 1e-7 * (operator.bound or 1.0)
    below = k - 1
    while below > 0 and ascending[below] - ascending[below - 1] < width:
        below -= 1
    shift = ascending[below] - width / 2
    block = scipy.linalg.ldl(flip * operator.to_dense() - shift * np.eye(operator.nodes))[1]
    counted = scipy.linalg.eigh_tridiagonal(block.diagonal(), np.diag(block, -1), eigvals_only=True)
    missed = int((counted < 0).sum()) - below
    remark = "certified by inertia" if missed == 0 else f"not certified: {missed} pairs missed"
    return missed == 0, f"; {remark}"


def _reason(reports: Counter[tuple[str, str]], operator: ShiftOperator) -> str:
    """Join the reasons of all components."""
    if not reports:
        return f"all pairs belong to the null space of {operator.components} components"
    each = "{}: {} ({} components)" if operator.components > 1 else "{}: {}"
    return "; ".join(each.format(name, reason, times) for (name, reason), times in reports.items())
