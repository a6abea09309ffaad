"""Check that two operators make a definite pencil: same nodes, symmetric, B + ridge I positive definite."""

import math
from typing import Any

import numpy as np

from paramgraph._checks import is_number
from paramgraph.errors import NotConvergedError
from paramgraph.spectra._solver_choice import choose_solvers, solver_modules
from paramgraph.spectra.shift_operator import ShiftOperator
from paramgraph.spectra.spectrum import EigenProblem


def check_pencil(operator: Any, reference: Any, ridge: Any) -> float:
    """Check the arguments of a generalized eigenproblem.

    Parameters
    ----------
    operator, reference : ShiftOperator
        A and B.
    ridge : float
        Added to the diagonal of B; 0 or larger.

    Returns
    -------
    float
        The ridge.

    Raises
    ------
    TypeError
        If one of the two is no shift operator, or `ridge` no number.
    ValueError
        If they have different nodes, one is not symmetric, `ridge` is negative or not finite, or B + ridge I
        is not positive definite to working precision.

    Examples
    --------
    >>> from paramgraph import adjacency
    >>> check_pencil(adjacency(np.eye(2)), adjacency(np.eye(2)), 0.5)
    0.5
    """
    for each in (operator, reference):
        if not isinstance(each, ShiftOperator):
            raise TypeError(
                f"generalized_eigenpairs takes two shift operators, got {type(each).__name__}; call "
                "adjacency(graph) or laplacian(graph) first"
            )
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


def _check_definite(reference: ShiftOperator, ridge: float) -> None:
    least = 10 * reference.nodes * np.finfo(np.float64).eps * (reference.bound + ridge)
    if reference.interval[0] + ridge > least:
        return  # proven without a solve
    known = reference.kind == "laplacian" and reference.nullity
    smallest = ridge if known else _smallest(reference) + ridge
    if not smallest > least:
        raise ValueError(
            f"B + ridge I is not positive definite: its smallest eigenvalue is {smallest:.4g} with "
            f"ridge={ridge:g}; raise ridge above {max(ridge - smallest, 0.0) + least:.2g}"
        )


def _smallest(reference: ShiftOperator) -> float:
    """Find the smallest eigenvalue of B; an upper bound of it would not do, so a failure is raised."""
    problem = EigenProblem(reference.matrix, 1, True, reference.interval)
    chain, _ = choose_solvers(problem)
    for name in chain:
        try:
            return float(solver_modules()[name].solve(problem).eigenvalues[0])
        except NotConvergedError:
            if name == chain[-1]:
                raise
    raise AssertionError("unreachable: a chain is never empty")
