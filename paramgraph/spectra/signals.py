"""What a filter takes: a floating tensor of the right rows and of finite numbers; and in which precision it works."""

from typing import Any

import torch
from torch import Tensor


def check_signal(X: Any, nodes: int, width: int | None = None, finite: bool = True) -> None:
    """Refuse what is no signal on some nodes.

    Parameters
    ----------
    X : Tensor
        What came.
    nodes : int
        Number of rows that it must have.
    width : int, optional
        Number of columns that it must have; without, a vector or a matrix of any width is welcome.
    finite : bool, default True
        Refuse NaN and infinity; on an accelerator this waits for the device.

    Raises
    ------
    TypeError
        If X is no floating tensor.
    ValueError
        If X has another shape, or is not finite.

    Examples
    --------
    >>> check_signal(torch.ones(3, 2), 3)
    """
    if not isinstance(X, Tensor) or not X.is_floating_point():
        kind = X.dtype if isinstance(X, Tensor) else type(X).__name__
        raise TypeError(f"a signal is a floating torch tensor, got {kind}")
    if width is None:
        wanted, right = f"({nodes},) or ({nodes}, width)", X.ndim in (1, 2) and X.shape[0] == nodes
    else:
        wanted, right = f"({nodes}, {width})", tuple(X.shape) == (nodes, width)
    if not right:
        raise ValueError(f"this signal must have the shape {wanted}, got {tuple(X.shape)}")
    if finite and not bool(torch.isfinite(X).all()):
        raise ValueError("the signal has NaN or infinite entries, which would spread over all nodes")


def working_dtype(X: Tensor) -> torch.dtype:
    """Choose the precision of sums over nodes.

    Parameters
    ----------
    X : Tensor
        Floating.

    Returns
    -------
    torch.dtype
        float64 for float64, else float32: half precision has 8 to 11 bits, and sums over thousands of nodes
        need the 24 of float32.

    Examples
    --------
    >>> working_dtype(torch.ones(1, dtype=torch.bfloat16))
    torch.float32
    """
    return torch.float64 if X.dtype == torch.float64 else torch.float32


def keep_tensor(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bring a factor of a filter to a device and a dtype, to be kept for later signals.

    Parameters
    ----------
    tensor : Tensor
        Not changed.
    device : torch.device
        Where it shall lie.
    dtype : torch.dtype
        Its dtype there.

    Returns
    -------
    Tensor
        The tensor itself where nothing changes. Never one of inference mode, which autograd could not save when a
        filter that was first called there is differentiated later.

    Examples
    --------
    >>> with torch.inference_mode():
    ...     kept = keep_tensor(torch.ones(2), torch.device("cpu"), torch.float32)
    >>> kept.is_inference()
    False
    """
    moved = tensor.to(device, dtype)
    if not moved.is_inference():
        return moved
    with torch.inference_mode(False):
        return moved.clone()
