r"""The spectral penalty tr(X^T (L + ridge I) X) on plain tensors: value, gradient and product.

Everything here is pure and knows no model: `operator` is anything with `operator @ X` (a
:class:`paramgraph.spectra.shifts.ShiftOperator`, a square tensor or array), or None for no graph, L = 0.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from torch import Tensor

from spectral_opt.half_precision import wide


class _Product(torch.autograd.Function):
    """L @ X with L^T @ (...) as its derivative, to any order: the operator itself knows no autograd."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, operator: Any, transposed: bool) -> Tensor:
        ctx.operator, ctx.transposed = operator, transposed
        return multiply(operator, X.detach(), transposed)

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
        In the dtype of `X`, but float32 where `X` is bfloat16 or float16: a sum over a whole matrix has too few bits
        in 16. One product with L: O(edges * width) time, O(nodes * width) memory.

    Raises
    ------
    ValueError
        If the number of nodes differs from that of the operator.
    TypeError
        If `X` is no floating tensor, or the operator no square matrix.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> penalty_value(torch.tensor([[3.0], [1.0]]), edge)
    tensor(4.)
    """
    operator = checked_operator(X, operator)
    with torch.autocast(X.device.type, enabled=False):
        signal = wide(X)
        if operator is None:
            return ridge * signal.square().sum()
        value = (signal * _product(signal, operator, False)).sum()
        return value + ridge * signal.square().sum() if ridge else value


def penalty_gradient(
    X: Float[Tensor, "nodes width"], operator: Any, ridge: float = 0.0
) -> Float[Tensor, "nodes width"]:
    r"""Compute the gradient of :func:`penalty_value` in closed form.

    .. math:: \nabla R(X) = (L + L^T) X + 2\, \text{ridge}\, X \;=\; 2 (L + \text{ridge}\, I) X \text{ for symmetric } L

    Parameters
    ----------
    X, operator, ridge
        As in :func:`penalty_value`; nothing is changed.

    Returns
    -------
    Tensor of shape (nodes, width)
        Of the dtype and device of `X` (accumulated in float32 or better), detached. About a third of the time of
        autograd, which multiplies with L twice and keeps its input.

    Raises
    ------
    ValueError, TypeError
        As :func:`penalty_value`.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> penalty_gradient(torch.tensor([[3.0], [1.0]]), edge)
    tensor([[ 4.],
            [-4.]])
    """
    operator = checked_operator(X, operator)
    with torch.no_grad(), torch.autocast(X.device.type, enabled=False):
        signal = wide(X.detach())
        if operator is None:
            return (2.0 * ridge * signal).to(X.dtype)
        if is_symmetric(operator):
            gradient = 2.0 * multiply(operator, signal, False)
        else:
            gradient = multiply(operator, signal, False) + multiply(operator, signal, True)
        if ridge:
            gradient = gradient.add_(signal, alpha=2.0 * ridge)
        return gradient.to(X.dtype)


def shifted_product(
    X: Float[Tensor, "nodes width"], operator: Any, ridge: float = 0.0
) -> Float[Tensor, "nodes width"]:
    r"""Multiply by the operator of the penalty, :math:`(L + \text{ridge}\, I) X`, differentiably and widened."""
    operator = checked_operator(X, operator)
    with torch.autocast(X.device.type, enabled=False):
        signal = wide(X)
        if operator is None:
            return ridge * signal
        product = _product(signal, operator, False)
        return product + ridge * signal if ridge else product


def is_symmetric(operator: Any) -> bool:
    """Say whether an operator is symmetric to the last bit; None, L = 0, is."""
    if isinstance(operator, Tensor):
        matrix = operator.to_dense()
        return bool(torch.equal(matrix, matrix.T))
    return bool(getattr(operator, "symmetric", True))


def multiply(operator: Any, X: Tensor, transposed: bool) -> Tensor:
    """Multiply a signal (nodes, width) by an operator or its transpose, without a derivative; neither is changed."""
    # An operator on several ranks is waited for by the others, also where this one has no rows.
    if not X.numel() and not getattr(operator, "spans_ranks", False):
        return X.clone()
    if isinstance(operator, Tensor):
        matrix = operator if operator.layout == torch.strided else torch.Tensor.to_sparse(operator)
        matrix = matrix.to(X.device, X.dtype)
        return (matrix.T if transposed else matrix) @ X
    if not transposed or is_symmetric(operator):
        product: Tensor = operator @ X
        return product
    matrix = operator.to_scipy().T
    return torch.from_numpy(matrix @ X.double().cpu().numpy()).to(X.device, X.dtype)


def checked_operator(X: Tensor, operator: Any) -> Any:
    """Check that an operator and a signal (nodes, width) fit; an array of NumPy or SciPy becomes a tensor.

    A TypeError where the signal is no floating tensor, or the operator no square matrix; a ValueError where the number
    of nodes differs.
    """
    if not isinstance(X, Tensor):
        raise TypeError(f"X is a {type(X).__name__}; a tensor of shape (nodes, width) is needed")
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
