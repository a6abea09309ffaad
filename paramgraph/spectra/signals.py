"""What a filter takes, a floating tensor of the right rows and of finite numbers; and how it is worked with."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Product = Callable[[Tensor], Tensor]


def check_signal(X: Tensor, nodes: int, width: int | None = None, finite: bool = True) -> None:
    """Refuse what is no signal on some nodes: a TypeError where it is no floating tensor, else a ValueError.

    Without a `width`, a vector or a matrix of any width is welcome. The look for NaN and infinity waits for an
    accelerator; leave it out with `finite=False`.
    """
    if not isinstance(X, Tensor) or not X.is_floating_point():
        kind, call = (
            (X.dtype, "X.float()") if isinstance(X, Tensor) else (type(X).__name__, "torch.as_tensor(X)")
        )
        raise TypeError(f"a signal is a floating torch tensor, got {kind}; {call} makes one")
    if width is None:
        wanted, right = f"({nodes},) or ({nodes}, width)", X.ndim in (1, 2) and X.shape[0] == nodes
    else:
        wanted, right = f"({nodes}, {width})", tuple(X.shape) == (nodes, width)
    if not right:
        raise ValueError(f"this signal must have the shape {wanted}, got {tuple(X.shape)}")
    if finite and not bool(torch.isfinite(X).all()):
        raise ValueError("the signal has NaN or infinite entries, which would spread over all nodes")


def working_dtype(X: Tensor) -> torch.dtype:
    """Choose the precision of sums over nodes: float64 for float64, else float32.

    Half precision has 8 to 11 bits; sums over thousands of nodes need the 24 of float32.
    """
    return torch.float64 if X.dtype == torch.float64 else torch.float32


def wide(X: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Widen half precision to float32, so that a difference keeps its bits and a sum over a matrix does not stall.

    >>> wide(torch.ones(2, dtype=torch.float16)).dtype, wide(torch.ones(2, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return X.to(working_dtype(X))


def keep_tensor(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bring a factor of a filter to a device and a dtype, to be kept for later signals.

    Never a tensor of inference mode: autograd could not save it when a filter that was first called there is
    differentiated later.
    """
    moved = tensor.to(device, dtype)
    if not moved.is_inference():
        return moved
    with torch.inference_mode(False):
        return moved.clone()


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
    """Apply a linear map of signals that torch cannot or need not trace; its adjoint is the backward pass.

    Without an `adjoint` the map is symmetric. It sees detached tensors, and nothing is kept for the backward pass,
    whatever the steps of the product.

    >>> x = torch.ones(2, requires_grad=True)
    >>> linear_product(x, lambda y: 3 * y).sum().backward()
    >>> x.grad
    tensor([3., 3.])
    """
    apply: Any = _LinearProduct.apply
    whole: Tensor = apply(X, product, product if adjoint is None else adjoint)
    return whole
