"""Grokfast: the slow part of the gradients, amplified before AdamW."""

from typing import Any

import torch
from torch import Tensor, nn

from paramgraph._checks import check_number, non_negative
from spectral_opt.study import Method, Options, Training


def _read(options: Options) -> tuple[float, float]:
    check_number("grokfast", "decay", options["decay"], 0.0, 1.0)
    return float(str(options["decay"])), non_negative("factor", options["factor"])


def _prepare(training: Training) -> None:
    decay, factor = _read(training.options)
    make = training.make_optimizer

    def filtered(
        parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        # Its filter and not its optimizer, whose AdamW has other settings than that of all methods.
        from pytorch_optimizer.optimizer.grokfast import gradfilter_ema

        means: dict[str, Tensor] = {}

        def before_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            r"""Turn G into G + factor M, with the running mean M of gradients."""
            gradfilter_ema(training.model, means, alpha=decay, lamb=factor)

        optimizer = make(parameters, learning_rate, weight_decay)
        optimizer.register_step_pre_hook(before_step)
        return optimizer

    training.make_optimizer = filtered


METHOD = Method(
    name="grokfast",
    title="Grokfast",
    description="The running mean of the gradients is added to them, amplified, before AdamW.",
    check=_read,
    prepare=_prepare,
    options={"decay": 0.98, "factor": 2.0},
    paper="arXiv 2405.20233",
    extra="pytorch-optimizer",
)
