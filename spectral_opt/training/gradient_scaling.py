"""What a GradScaler tells an optimizer that unscales inside its own step."""

from typing import Any, NamedTuple

from torch import Tensor
from torch.optim import Optimizer


class GradientScaling(NamedTuple):
    """State of loss scaling during one step.

    Parameters
    ----------
    scale : Tensor of one element, or None
        By what the gradients are multiplied while the hooks see them; None: by nothing.
    is_skipped : bool
        Whether the optimizer will change nothing, since a gradient overflowed.

    Examples
    --------
    >>> GradientScaling(None, False).is_skipped
    False
    """

    scale: Tensor | None
    is_skipped: bool


def read_scaling(optimizer: Optimizer) -> GradientScaling:
    """Read what GradScaler has set on a fused optimizer for the time of its step.

    `torch.amp.GradScaler.step` calls other optimizers with unscaled gradients, or not at all: there is then
    nothing to read. To a fused one it hands the scaled gradients and sets `grad_scale` and `found_inf`.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any; its attributes are read.

    Returns
    -------
    GradientScaling
        Reading `found_inf` waits for the accelerator, as GradScaler does itself with other optimizers.

    Examples
    --------
    >>> import torch
    >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    >>> optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(1.0)
    >>> read_scaling(optimizer)
    GradientScaling(scale=tensor(8.), is_skipped=True)
    """
    attributes: Any = optimizer
    found = getattr(attributes, "found_inf", None)
    return GradientScaling(
        getattr(attributes, "grad_scale", None), found is not None and bool(found.item() != 0)
    )
