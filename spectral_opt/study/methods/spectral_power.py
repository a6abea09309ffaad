"""One exponent from the paper's low-pass to Shampoo and SOAP, on Gram graphs of the training's own gradients."""

from typing import Any

import torch
from torch import nn

from paramgraph._checks import is_number, known_choice, whole_number
from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method, Options, Training
from spectral_opt.study.methods._matrices import split_matrices
from spectral_opt.training import SpectralPower

# Eigenvectors of 1,536 nodes take forty times those of 384; a matrix with such a side has the graph of the other one.
OPTIONS: Options = {"p": 0.0, "placement": "gradient", "refresh": 10, "largest": 512}


def _configure(options: Options) -> tuple[SpectralConfig, ...]:
    """Check the options; the optimizer itself is the method."""
    if not is_number(options["p"]):
        raise ValueError(
            f"p is {options['p']!r}; it must be a number: < 0 a low-pass, 0 nothing, 1/4 Shampoo"
        )
    known_choice("placement", options["placement"], ("gradient", "basis"))
    for name in ("refresh", "largest"):
        whole_number(name, options[name], 1)
    return ()


def _prepare(training: Training) -> None:
    options: Any = training.options  # checked

    def make(
        parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        with_power, plain = split_matrices(training, parameters)
        return SpectralPower(
            [{"params": one, "p": p} for one, p in ((with_power, float(options["p"])), (plain, None)) if one],
            lr=learning_rate,
            weight_decay=weight_decay,
            placement=options["placement"],
            refresh=options["refresh"],
            largest=options["largest"],
            fused=True,
        )

    training.make_optimizer = make


METHOD = Method(
    name="spectral_power",
    title="power of the gradients' own graphs",
    description="(b a)^-p on each mode of the Gram graphs of the gradients, before AdamW or with AdamW in their basis.",
    configure=_configure,
    prepare=_prepare,
    options=OPTIONS,
    paper="arXiv 1802.09568, 2409.11321",
)
