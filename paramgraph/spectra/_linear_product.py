"""A linear map of signals that torch differentiates through its adjoint, however it is computed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


class _LinearProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, X: Tensor, product: Product, adjoint: Product) -> Tensor:
        ctx.pair = product, adjoint
        return product(X.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        product, adjoint = ctx.pair
        # The adjoint of the adjoint is the map itself: so second derivatives are right, too.
        return linear_product(gradients[0], adjoint, product), None, None


def linear_product(X: Tensor, product: Product, adjoint: Product | None = None) -> Tensor:
    """Apply a linear map that torch cannot or need not trace.

    Parameters
    ----------
    X : Tensor
        Signal; not changed.
    product : callable
        The map, on a detached tensor.
    adjoint : callable, optional
        Its adjoint, for the backward pass; without, the map is symmetric.

    Returns
    -------
    Tensor
        The product. Nothing but X is kept for the backward pass, whatever the steps of the product.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> linear_product(x, lambda y: 3 * y).sum().backward()
    >>> x.grad
    tensor([3., 3.])
    """
    apply: Any = _LinearProduct.apply
    whole: Tensor = apply(X, product, product if adjoint is None else adjoint)
    return whole
