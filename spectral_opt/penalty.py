r"""The spectral penalty tr(X^T (L + ridge I) X) on plain tensors: value, gradient, and decoupled step.

Everything here is pure and knows no model: `operator` is anything with `operator @ X` (a
:class:`paramgraph.shifts.ShiftOperator`, a square tensor or array), or None for no graph, L = 0.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from torch import Tensor


class _Product(torch.autograd.Function):
    """L @ X with L^T @ (...) as its derivative, to any order: the operator itself knows no autograd."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, operator: Any, transposed: bool) -> Tensor:
        ctx.operator, ctx.transposed = operator, transposed
        return _matmul(operator, X.detach(), transposed)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _product(gradients[0], ctx.operator, not ctx.transposed), None, None


def _product(X: Tensor, operator: Any, transposed: bool) -> Tensor:
    product: Tensor = _Product.apply(X, operator, transposed)  # type: ignore[no-untyped-call]
    return product


def penalty_value(X: Float[Tensor, "nodes width"], operator: Any, ridge: float = 0.0) -> Float[Tensor, ""]:
    r"""Compute the spectral penalty, differentiably.

    .. math::
        R(X) = \operatorname{tr}(X^T (L + \text{ridge}\, I) X)
             = \sum_k (\lambda_k + \text{ridge}) \lVert \hat x_k \rVert^2

    For the combinatorial Laplacian this is half the sum of W_ij ||x_i - x_j||^2 over ordered pairs.

    Parameters
    ----------
    X : Tensor of shape (nodes, width)
        Delta or weights, one row per node; any floating dtype and device.
    operator : ShiftOperator, Tensor or array of shape (nodes, nodes), or None
        Graph shift operator; None means L = 0.
    ridge : float, default 0.0
        Added to every eigenvalue.

    Returns
    -------
    Tensor of shape ()
        The penalty, in the dtype of `X`, but float32 where `X` is bfloat16 or float16: a sum over a whole
        matrix has too few bits in 16. One product with L: O(edges * width) time, O(nodes * width) memory.

    Raises
    ------
    ValueError
        If the number of nodes differs from that of the operator.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> penalty_value(torch.tensor([[3.0], [1.0]]), edge)
    tensor(4.)
    """
    operator = _checked(X, operator)
    with torch.autocast(X.device.type, enabled=False):
        wide = _accumulator(X)
        if operator is None:
            return ridge * wide.square().sum()
        value = (wide * _product(wide, operator, False)).sum()
        return value + ridge * wide.square().sum() if ridge else value


def penalty_gradient(
    X: Float[Tensor, "nodes width"], operator: Any, ridge: float = 0.0
) -> Float[Tensor, "nodes width"]:
    r"""Compute the gradient of :func:`penalty_value` in closed form.

    .. math:: \nabla R(X) = (L + L^T) X + 2\, \text{ridge}\, X \;=\; 2 (L + \text{ridge}\, I) X \text{ for symmetric } L

    Parameters
    ----------
    X : Tensor of shape (nodes, width)
        Delta or weights, one row per node; never changed.
    operator : ShiftOperator, Tensor or array of shape (nodes, nodes), or None
        Graph shift operator; None means L = 0.
    ridge : float, default 0.0
        Added to every eigenvalue.

    Returns
    -------
    Tensor of shape (nodes, width)
        The gradient, of the dtype and device of `X` (accumulated in float32 or better), detached. About a
        third of the time of autograd, which multiplies with L twice and keeps its input.

    Raises
    ------
    ValueError
        If the number of nodes differs from that of the operator.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> penalty_gradient(torch.tensor([[3.0], [1.0]]), edge)
    tensor([[ 4.],
            [-4.]])
    """
    operator = _checked(X, operator)
    with torch.no_grad(), torch.autocast(X.device.type, enabled=False):
        wide = _accumulator(X.detach())
        if operator is None:
            return (2.0 * ridge * wide).to(X.dtype)
        if _is_symmetric(operator):
            gradient = 2.0 * _matmul(operator, wide, False)
        else:
            gradient = _matmul(operator, wide, False) + _matmul(operator, wide, True)
        if ridge:
            gradient = gradient.add_(wide, alpha=2.0 * ridge)
        return gradient.to(X.dtype)


def decoupled_step(
    X: Float[Tensor, "nodes width"], operator: Any, ridge: float, step: float, bound: float | None = None
) -> tuple[Float[Tensor, "nodes width"], str]:
    r"""Descend the penalty by one step, the way AdamW decays weights: outside the optimizer.

    .. math::

        X \mapsto X - 2 s (L + \text{ridge}\, I) X \quad\text{while } 2 s (\lambda_{max} + \text{ridge}) < 1,
        \qquad\text{else } X \mapsto (I + 2 s (L + \text{ridge}\, I))^{-1} X

    The second, the proximal step, is stable for every s; the two agree to first order in s. It is solved by
    conjugate gradients in float64, whose number of iterations grows with the square root of
    1 + 2 s lambda_max.

    Parameters
    ----------
    X : Tensor of shape (nodes, width)
        Delta or weights; never changed.
    operator : ShiftOperator, Tensor of shape (nodes, nodes), or None
        Symmetric positive semidefinite shift operator; None means L = 0.
    ridge : float
        Added to every eigenvalue.
    step : float
        Learning rate times the factor of the penalty.
    bound : float or None, default None
        Upper bound of the eigenvalues; None asks the operator.

    Returns
    -------
    Tensor of shape (nodes, width)
        X after the step, same dtype and device.
    str
        "explicit" or "proximal".

    Raises
    ------
    ValueError
        If `step` is negative or not finite, or the operator is not symmetric.

    Examples
    --------
    >>> decoupled_step(torch.ones(2, 1), None, ridge=1.0, step=0.1)[1]
    'explicit'
    >>> decoupled_step(torch.ones(2, 1), None, ridge=1.0, step=2.0)
    (tensor([[0.2000],
            [0.2000]]), 'proximal')
    """
    operator = _checked(X, operator)
    if not (0.0 <= step < float("inf")):
        raise ValueError(f"step is {step!r}; learning rate times penalty must be finite and >= 0")
    if not _is_symmetric(operator):
        raise ValueError("a decoupled step needs a symmetric operator; use normalization 'sym' or None")
    kind = step_kind(operator, ridge, step, bound)
    if kind == "explicit":
        with torch.no_grad():
            wide = _accumulator(X.detach())
            return (wide - step * penalty_gradient(wide, operator, ridge)).to(X.dtype), kind
    return _proximal(X.detach(), operator, 2.0 * step, ridge), kind


def step_kind(operator: Any, ridge: float, step: float, bound: float | None = None) -> str:
    """Say which step :func:`decoupled_step` takes.

    Parameters
    ----------
    operator : ShiftOperator, Tensor or None
        Shift operator; None means L = 0.
    ridge : float
        Added to every eigenvalue.
    step : float
        Learning rate times the factor of the penalty.
    bound : float or None, default None
        Upper bound of the eigenvalues; None asks the operator.

    Returns
    -------
    str
        "explicit" while 2 step (lambda_max + ridge) < 1, else "proximal".

    Examples
    --------
    >>> step_kind(None, ridge=1.0, step=0.6)
    'proximal'
    """
    largest = _bound(operator) if bound is None else bound
    return "explicit" if 2.0 * step * (largest + ridge) < 1.0 else "proximal"


def _proximal(X: Tensor, operator: Any, step: float, ridge: float) -> Tensor:
    """Solve (I + step (L + ridge I)) Y = X, all columns at once."""
    scale = 1.0 + step * ridge
    target = X.double()
    if operator is None:
        return (target / scale).to(X.dtype)

    def system(Y: Tensor) -> Tensor:
        return scale * Y + step * _matmul(operator, Y, False)

    solution = target / scale
    residual = target - system(solution)
    direction = residual.clone()
    energy = residual.square().sum(0)
    # 1e-12 of the signal: below float32's rounding, above what float64 can reach for any sane step.
    goal = 1e-24 * target.square().sum(0)
    # In exact arithmetic n iterations suffice; NaN compares False and ends the loop at once.
    for _ in range(2 * X.shape[0] + 10):
        if not bool((energy > goal).any()):
            break
        image = system(direction)
        curvature = (direction * image).sum(0)
        length = torch.where(curvature > 0, energy / curvature.clamp_min(1e-300), torch.zeros_like(energy))
        solution = solution + length * direction
        residual = residual - length * image
        renewed = residual.square().sum(0)
        ratio = torch.where(energy > 0, renewed / energy.clamp_min(1e-300), torch.zeros_like(energy))
        direction = residual + ratio * direction
        energy = renewed
    return solution.to(X.dtype)


def _accumulator(X: Tensor) -> Tensor:
    return X.float() if X.dtype in (torch.bfloat16, torch.float16) else X


def _is_symmetric(operator: Any) -> bool:
    if isinstance(operator, Tensor):
        matrix = operator.to_dense()
        return bool(torch.equal(matrix, matrix.T))
    return bool(getattr(operator, "symmetric", True))


def _bound(operator: Any) -> float:
    if operator is None:
        return 0.0
    if isinstance(operator, Tensor):
        return float(operator.to_dense().abs().sum(1).max()) if operator.shape[0] else 0.0  # Gershgorin
    return float(operator.bound)


def _matmul(operator: Any, X: Tensor, transposed: bool) -> Tensor:
    if not X.numel():
        return X.clone()
    if isinstance(operator, Tensor):
        matrix = operator if operator.layout == torch.strided else torch.Tensor.to_sparse(operator)
        matrix = matrix.to(X.device, X.dtype)
        return (matrix.T if transposed else matrix) @ X
    if not transposed or _is_symmetric(operator):
        product: Tensor = operator @ X
        return product
    matrix = operator.to_scipy().T
    return torch.from_numpy(matrix @ X.double().cpu().numpy()).to(X.device, X.dtype)


def _checked(X: Tensor, operator: Any) -> Any:
    if not X.is_floating_point():
        raise TypeError(f"X is {X.dtype}; a floating tensor is needed: X.float()")
    if isinstance(operator, np.ndarray) or sp.issparse(operator):
        entries: Any = operator  # SciPy's two families of sparse arrays share no typed parent with NumPy's
        operator = torch.from_numpy(sp.coo_array(entries).toarray())
    shape = tuple(getattr(operator, "shape", ()))
    if operator is not None and (len(shape) != 2 or shape[0] != shape[1]):
        kind = f"has the shape {shape}" if shape else f"is a {type(operator).__name__}"
        raise TypeError(f"operator {kind}; give laplacian(graph), a square matrix, or None for no graph")
    if operator is not None and shape[0] != X.shape[0]:
        raise ValueError(
            f"X has {X.shape[0]} nodes (rows), the operator has {shape[0]}; "
            "gather X with the table that the graph was built from"
        )
    return operator
