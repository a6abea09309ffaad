"""The paper as printed: L = D - W, a penalty on the weights themselves, an ideal low-pass, an ordinary step."""

from dataclasses import replace

import torch
from torch import nn

from paramgraph._checks import known_choice, non_negative
from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method, Options, Training
from spectral_opt.study.methods._gradient_graph import GRAPH, graph_fields

# The paper gives neither a strength nor a cut-off; with "adamw" its joint gradient goes into AdamW.
OPTIONS: Options = {"strength": 1e-3, "cutoff": 1.0, "optimizer": "sgd", **GRAPH}


def _configure(options: Options) -> tuple[SpectralConfig]:
    printed = SpectralConfig.literal(
        non_negative("strength", options["strength"]), non_negative("cutoff", options["cutoff"])
    )
    known_choice("optimizer", options["optimizer"], ("sgd", "adamw"))
    return (replace(printed, **graph_fields(options)),)


def _prepare(training: Training) -> None:
    if training.options["optimizer"] == "sgd":
        training.make_optimizer = _descent


def _descent(
    parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    # Its penalty on the weights is the paper's own decay.
    return torch.optim.SGD(parameters, lr=learning_rate)


METHOD = Method(
    name="literal",
    title="the paper as printed",
    description="Gradient descent on the loss and tr(X'LX) of the weights, L = D - W, through an ideal low-pass.",
    configs=_configure(OPTIONS),
    configure=_configure,
    prepare=_prepare,
    options=OPTIONS,
    paper="arXiv 2504.19583",
)
