"""Muon: momentum with all singular values made equal."""

import torch
from torch import nn

from spectral_opt.study import Method, Training
from spectral_opt.study.methods._matrices import split_matrices


def _prepare(training: Training) -> None:
    def make(
        parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        from pytorch_optimizer import Muon

        matrices, rest = split_matrices(training, parameters)
        usual = {"lr": learning_rate, "weight_decay": weight_decay}
        return Muon(
            [
                # The rate of AdamW gives steps of AdamW's length.
                {"params": matrices, "use_muon": True, "use_adjusted_lr": True, **usual},
                {"params": rest, "use_muon": False, **usual},
            ]
        )

    training.make_optimizer = make


METHOD = Method(
    name="muon",
    title="Muon",
    description="Momentum with all singular values made equal on the encoder's matrices, AdamW on all else.",
    prepare=_prepare,
    paper="Jordan et al. 2024; steps of AdamW's length, arXiv 2502.16982",
    extra="pytorch-optimizer",
)
