"""Laplacian smoothing: gradients made smooth along the ring of a tensor's entries, before AdamW."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph._checks import non_negative
from spectral_opt.study import Method, Options, Training


def _smooth(gradient: Float[Tensor, "*shape"], gamma: float) -> Float[Tensor, "*shape"]:
    r"""Apply (I + gamma L)^-1 with the Laplacian L of the ring of all entries, whose eigenvalues are 2 - 2 cos.

    The Fourier transform is the exact spectral filter here, in O(n log n); a ring on rows smooths columns, not this.
    """
    # The values of a real transform are those of the frequencies 0 to 1/2.
    flat = gradient.float().flatten()
    angle = 2 * torch.pi * torch.fft.rfftfreq(len(flat), device=flat.device)
    # A ring of one or two entries has fewer edges.
    eigenvalues = (2 - 2 * torch.cos(angle)) / (1 if len(flat) > 2 else 2)
    smooth: Tensor = torch.fft.irfft(torch.fft.rfft(flat) / (1 + gamma * eigenvalues), n=len(flat))
    return smooth.view_as(gradient).to(gradient.dtype)


def _read(options: Options) -> float:
    return non_negative("gamma", options["gamma"])


def _prepare(training: Training) -> None:
    gamma, make = _read(training.options), training.make_optimizer

    def smoothed(
        parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        def before_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.copy_(_smooth(parameter.grad, gamma))

        optimizer = make(parameters, learning_rate, weight_decay)
        optimizer.register_step_pre_hook(before_step)
        return optimizer

    training.make_optimizer = smoothed


METHOD = Method(
    name="laplacian_smoothing",
    title="Laplacian smoothing",
    description="Gradients through the low-pass 1/(1 + gamma lambda) on the ring of a tensor's entries, before AdamW.",
    check=_read,
    prepare=_prepare,
    options={"gamma": 1.0},
    paper="arXiv 1806.06317",
)
