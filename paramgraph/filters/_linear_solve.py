r"""One linear system, without eigenvectors and without a polynomial: the Tikhonov filter and the proximal step.

.. math:: (I + \gamma L) Y = X

`prepare_solve` is for one strength and many signals, in float64 on the CPU: a dense matrix goes to Cholesky; a sparse
one to SuperLU where the fill-in is small, else to conjugate gradients with Jacobi's preconditioner, column by column.
`solve_shifted` is for a strength that changes with the learning rate, where no factor would be used twice, and for
operators that are no matrix here: conjugate gradients on all columns at once, wherever X lies.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.errors import NotConvergedError
from paramgraph.spectra import ShiftOperator, SignalOperator, estimate_fill_in, smallest_eigenvalue

# About two seconds of a sparse factorization, whose operations are estimated by entries^2 / nodes; and 240 MB.
FACTOR_OPERATIONS = 2e9
FACTOR_ENTRIES = 2 * 10**7
# Of I + gamma L: rounding is that many times larger, and beyond 1e-5 of the signal no longer an answer.
LARGEST_CONDITION = 1e11
# Residual of the conjugate gradients over the norm of the signal: below the rounding of a float32 signal.
CG_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class LinearSolve:
    r"""Solve :math:`(I + \gamma L) Y = X` for any number of right-hand sides; made by `prepare_solve`.

    `solver` is "cholesky", "superlu" or "cg"; `error` bounds that of Y over the norm of X, 0 for a factorization;
    `operations` are estimated, for one column; `stored_bytes` are those of the factor, or of the matrix.
    """

    solver: str
    reason: str
    error: float
    apply: Callable[[np.ndarray], np.ndarray]
    operations: float
    stored_bytes: int

    def __call__(self, X: Float[np.ndarray, "nodes width"]) -> Float[np.ndarray, "nodes width"]:
        """Solve for all columns of X, which is not changed."""
        return np.asarray(self.apply(X)) if X.size else X.copy()


def factor_is_cheap(operator: ShiftOperator) -> bool:
    """Tell whether the factorization of I + gamma L takes no more than some seconds and 240 MB.

    By the fill-in estimated in O(edges); a dense operator is always factored, in O(nodes^3 / 3).
    """
    if operator.is_dense:
        return True
    entries = estimate_fill_in(operator.matrix).entries
    return entries <= FACTOR_ENTRIES and entries**2 <= FACTOR_OPERATIONS * operator.nodes


def is_solvable(operator: ShiftOperator, gamma: float) -> bool:
    """Tell whether I + gamma L is conditioned well enough for float64."""
    return gamma * operator.bound <= LARGEST_CONDITION


def prepare_solve(operator: ShiftOperator, gamma: float) -> LinearSolve:
    r"""Factor :math:`I + \gamma L`, or prepare conjugate gradients for it; L is symmetric.

    A factorization takes 4 x entries of the factor operations for each column; conjugate gradients [1]_ about
    :math:`12 \sqrt{1 + \gamma \lambda_{max}}` products with L, and a NotConvergedError where they do not reach a
    residual of 1e-10 of the signal. A ValueError is raised where :math:`1 + \gamma \lambda_{min}` is not positive,
    which is possible only on an adjacency, and where gamma is so large that rounding is all that would come out.

    .. [1] Y. Saad, "Iterative methods for sparse linear systems", SIAM, 2003, sections 6.7 and 9.2.
    """
    if not is_solvable(operator, gamma):
        raise ValueError(
            f"tikhonov(gamma={gamma}) on eigenvalues of up to {operator.bound:.3g} is no linear system that float64 "
            f"can solve: their product may be {LARGEST_CONDITION:.0e}; take a smaller gamma, or method='exact'"
        )
    proven = 1 + gamma * operator.interval[0] > 0
    if operator.is_dense:
        return _cholesky(operator, gamma)
    matrix = sp.csc_array(sp.eye_array(operator.nodes, format="csc") + gamma * operator.matrix)
    if factor_is_cheap(operator):
        return _superlu(operator, matrix, gamma, proven)
    if not proven:
        smallest = smallest_eigenvalue(operator)
        if 1 + gamma * smallest <= 0:
            _raise_pole(gamma, smallest)
    return _conjugate_gradients(operator, sp.csr_array(matrix), gamma, proven)


def solve_shifted(
    operator: SignalOperator,
    X: Float[Tensor, "nodes width"],
    gamma: float,
    diagonal: float = 1.0,
    looks: bool | None = None,
) -> Float[Tensor, "nodes width"]:
    r"""Solve :math:`(d I + \gamma L) Y = X` in float64 by conjugate gradients, all columns at once.

    L is symmetric, the system positive definite. The number of steps grows with the square root of
    :math:`1 + \gamma \lambda_{max}`. One that `looks` ends as soon as the residual is small; one that does not takes as
    many steps as that condition number can need, so that nothing waits for an accelerator. None: on the CPU alone.
    Where the system turns out to have a negative eigenvalue, one that looks raises a ValueError, the other gives NaN;
    where the residual stays large, one that looks raises a NotConvergedError.
    """
    looks = X.device.type == "cpu" if looks is None else looks
    target = X.double()
    if not X.numel() and not operator.spans_ranks:
        return X.clone()

    def system(Y: Tensor) -> Tensor:
        return diagonal * Y + gamma * (operator @ Y)

    # Each column is a system of its own, unless the operator links them.
    solution = target / diagonal
    residual = target - system(solution)
    direction = residual.clone()
    energy = operator.inner(residual * residual)
    # 1e-12 of the signal: below float32's rounding, above what float64 can reach for any sane step.
    goal = 1e-24 * operator.inner(target * target)
    # In exact arithmetic n iterations suffice, with rounding not; NaN compares False and ends the loop at once.
    limit = 10 * operator.nodes + 100
    if not looks:
        limit = min(2 * operator.nodes + 10, _enough_steps(1 + gamma * operator.bound / diagonal))
    for _ in range(limit):
        if looks and not bool((energy > goal).any()):
            break
        image = system(direction)
        curvature = operator.inner(direction * image)
        if looks and bool((curvature < 0).any()):
            raise ValueError(
                f"the system {diagonal:.3g} I + {gamma:.3g} L has a negative eigenvalue: take a smaller step, or an "
                "operator without negative eigenvalues"
            )
        # Where it is 0 the residual is 0 to the last bit.
        beyond = torch.where(curvature < 0, torch.nan, torch.zeros_like(energy))
        length = torch.where(curvature > 0, energy / curvature.clamp_min(1e-300), beyond)
        solution = solution + length * direction
        residual = residual - length * image
        renewed = operator.inner(residual * residual)
        ratio = torch.where(energy > 0, renewed / energy.clamp_min(1e-300), torch.zeros_like(energy))
        direction = residual + ratio * direction
        energy = renewed
    if looks and bool((energy > goal).any()):
        left = 1e-12 * float((energy / goal).nan_to_num(0.0).max().sqrt())  # a column of zeros has neither
        raise NotConvergedError(
            f"conjugate gradients stopped after {limit} steps at a relative residual of {left:.2g}, above 1e-12; take "
            "a smaller step",
            (left,),
        )
    return solution.to(X.dtype)


def _cholesky(operator: ShiftOperator, gamma: float) -> LinearSolve:
    system = operator.to_dense()
    system *= gamma
    np.fill_diagonal(system, 1.0 + system.diagonal())
    try:
        # Symmetric to the last bit, so that its transpose is itself, in the order in which LAPACK overwrites it.
        factor = scipy.linalg.cho_factor(system.T, overwrite_a=True)
    except np.linalg.LinAlgError:
        _raise_pole(gamma, float(np.linalg.eigvalsh(operator.to_dense())[0]))
    entries = operator.nodes**2
    return LinearSolve(
        "cholesky",
        "Cholesky of a dense operator",
        0.0,
        lambda X: scipy.linalg.cho_solve(factor, X),
        2.0 * entries,
        8 * entries,
    )


def _superlu(operator: ShiftOperator, matrix: sp.csc_array, gamma: float, proven: bool) -> LinearSolve:
    # No pivoting: the matrix is positive definite, and the symmetric order keeps the fill-in low.
    factor = spla.splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    # The signs of the pivots are those of the eigenvalues (Sylvester).
    if not proven and not (factor.U.diagonal() > 0).all():
        raise ValueError(
            f"tikhonov(gamma={gamma}) has its pole at {-1 / gamma:.3g}, above the smallest eigenvalue; take a smaller "
            "gamma, or an operator without negative eigenvalues"
        )
    # Float64 with an int32 index.
    return LinearSolve(
        "superlu",
        f"sparse factorization (SuperLU) of {factor.nnz} entries",
        0.0,
        lambda X: factor.solve(X),
        2.0 * factor.nnz,
        12 * factor.nnz,
    )


def _conjugate_gradients(
    operator: ShiftOperator, matrix: sp.csr_array, gamma: float, proven: bool
) -> LinearSolve:
    limit = _most_steps(operator, gamma, proven)
    inverse = 1 / matrix.diagonal()
    jacobi = spla.LinearOperator(matrix.shape, matvec=lambda x: inverse * x.ravel(), dtype=np.float64)

    def apply(X: np.ndarray) -> np.ndarray:
        out = np.empty_like(X)
        for column in range(X.shape[1]):
            right = np.ascontiguousarray(X[:, column])
            out[:, column], failed = spla.cg(
                matrix, right, rtol=CG_TOLERANCE, atol=0.0, maxiter=limit, M=jacobi
            )
            if failed:
                residual = float(np.linalg.norm(right - matrix @ out[:, column]) / np.linalg.norm(right))
                raise NotConvergedError(
                    f"conjugate gradients for column {column} stopped after {limit} steps at a relative residual of "
                    f"{residual:.2g}, above {CG_TOLERANCE}; take a smaller gamma, or method='lowrank' with a rank",
                    (residual,),
                )
        return out

    # Of Y: the residual over the smallest eigenvalue of the matrix, where that is known.
    error = CG_TOLERANCE / (1 + gamma * operator.interval[0]) if proven else math.inf
    reason = (
        f"conjugate gradients with Jacobi's preconditioner to a relative residual of {CG_TOLERANCE}, since a "
        f"factor may have {estimate_fill_in(operator.matrix).entries} entries"
    )
    # Half of the steps that are allowed, each a product and five operations on vectors.
    operations = limit / 2 * (2.0 * matrix.nnz + 10.0 * operator.nodes)
    return LinearSolve("cg", reason, error, apply, operations, 12 * matrix.nnz)


def _enough_steps(condition: float) -> int:
    """Bound the steps to a residual of 1e-12 of X: after s from X / diagonal, 2 c ((sqrt(c) - 1) / (sqrt(c) + 1))^s."""
    return math.ceil(math.sqrt(condition) / 2 * math.log(2 * condition / 1e-12))


def _most_steps(operator: ShiftOperator, gamma: float, proven: bool) -> int:
    """Allow twice the steps that the condition number asks for; where it is unknown, what rounding may take."""
    limit = 10 * operator.nodes + 100
    if not proven:
        return limit
    low, high = (1 + gamma * end for end in operator.interval)
    return min(limit, 100 + math.ceil(math.sqrt(high / low) * math.log(2 / CG_TOLERANCE)))


def _raise_pole(gamma: float, smallest: float) -> None:
    raise ValueError(
        f"tikhonov(gamma={gamma}) has its pole at {-1 / gamma:.3g}, above the smallest eigenvalue {smallest:.3g}; "
        f"take gamma < {-1 / smallest:.3g}, or an operator without negative eigenvalues"
    )
