"""Shampoo: gradients divided by roots of their own Grams on either side."""

import torch
from torch import nn

from paramgraph._checks import whole_number
from spectral_opt.study import Method, Options, Training
from spectral_opt.study.methods._joined_optimizers import JoinedOptimizers
from spectral_opt.study.methods._matrices import split_matrices


def _read(options: Options) -> tuple[int, int]:
    return whole_number("refresh", options["refresh"], 1), whole_number("block", options["block"], 2)


def _prepare(training: Training) -> None:
    every, block = _read(training.options)
    usual = training.make_optimizer

    def make(
        parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        from pytorch_optimizer import ScalableShampoo
        from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting

        matrices, rest = split_matrices(training, parameters)
        shampoo = ScalableShampoo(
            matrices,
            lr=learning_rate,
            weight_decay=weight_decay,
            decoupled_weight_decay=True,
            moving_average_for_momentum=True,
            start_preconditioning_step=every,
            preconditioning_compute_steps=every,
            block_size=block,
            # The length of a step of signs: the rate of AdamW gives steps of AdamW's length.
            graft_type=LayerWiseGrafting.SQRTN,
        )
        return JoinedOptimizers(shampoo, usual(rest, learning_rate, weight_decay))

    training.make_optimizer = make


METHOD = Method(
    name="shampoo",
    title="Shampoo",
    description="Gradients over the fourth roots of their Grams on the encoder's matrices, AdamW on all else.",
    check=_read,
    prepare=_prepare,
    options={"refresh": 10, "block": 512},
    paper="arXiv 1802.09568; grafted, arXiv 2002.11803",
    extra="pytorch-optimizer",
)
