"""Tensors of which this process may hold only a part: whole, or what lies here."""

from typing import Any

from torch import Tensor


def is_split(tensor: Tensor) -> bool:
    """Say whether a tensor is a DTensor, of which this process holds a part.

    Parameters
    ----------
    tensor : Tensor
        Any.

    Returns
    -------
    bool
        True for a DTensor of any layout.

    Examples
    --------
    >>> import torch
    >>> is_split(torch.ones(2))
    False
    """
    # By its attributes: to import torch.distributed.tensor costs a program without ranks a third of a second.
    return hasattr(tensor, "placements") and hasattr(tensor, "device_mesh")


def whole(tensor: Tensor) -> Tensor:
    """Give a tensor in one piece; the ranks of a DTensor call this together.

    Parameters
    ----------
    tensor : Tensor
        Any.

    Returns
    -------
    Tensor
        The tensor itself, or all of a DTensor, gathered.

    Examples
    --------
    >>> import torch
    >>> whole(torch.ones(2))
    tensor([1., 1.])
    """
    if not is_split(tensor):
        return tensor
    split: Any = tensor
    gathered: Tensor = split.full_tensor()
    return gathered


def local(tensor: Tensor) -> Tensor:
    """Give what this rank holds of a tensor, sharing its memory.

    Parameters
    ----------
    tensor : Tensor
        Any.

    Returns
    -------
    Tensor
        The tensor itself, or the part of a DTensor that lies here; differentiable.

    Examples
    --------
    >>> import torch
    >>> local(torch.ones(2))
    tensor([1., 1.])
    """
    if not is_split(tensor):
        return tensor
    split: Any = tensor
    part: Tensor = split.to_local()
    return part
