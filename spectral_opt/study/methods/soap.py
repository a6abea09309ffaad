"""SOAP: Adam in the eigenbasis of Shampoo's preconditioners."""

import torch
from torch import nn

from paramgraph._checks import whole_number
from spectral_opt.study import Method, Options, Training


def _read(options: Options) -> int:
    return whole_number("refresh", options["refresh"], 1)


def _prepare(training: Training) -> None:
    every = _read(training.options)

    def make(
        parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        from pytorch_optimizer import SOAP

        return SOAP(parameters, lr=learning_rate, weight_decay=weight_decay, precondition_frequency=every)

    training.make_optimizer = make


METHOD = Method(
    name="soap",
    title="SOAP",
    description="Adam in the eigenbasis of each matrix's running gradient Grams; plain Adam on vectors.",
    check=_read,
    prepare=_prepare,
    options={"refresh": 10},
    paper="arXiv 2409.11321",
    extra="pytorch-optimizer",
)
