"""GaLore: Adam on gradients projected to low rank."""

from typing import Any

import torch
from torch import nn

from paramgraph._checks import non_negative, whole_number
from spectral_opt.study import Method, Options, Training
from spectral_opt.study.methods._matrices import split_matrices


def _read(options: Options) -> tuple[int, int, float]:
    rank, refresh = (whole_number(name, options[name], 1) for name in ("rank", "refresh"))
    return rank, refresh, non_negative("scale", options["scale"])


def _prepare(training: Training) -> None:
    rank, refresh, scale = _read(training.options)

    def make(
        parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        from pytorch_optimizer import GaLore

        matrices, rest = split_matrices(training, parameters)
        projected: dict[str, Any] = {
            "rank": rank,
            "update_proj_gap": refresh,
            "scale": scale,
            "projection_type": "std",
        }
        return GaLore(
            [{"params": matrices, **projected}, {"params": rest}], lr=learning_rate, weight_decay=weight_decay
        )

    training.make_optimizer = make


METHOD = Method(
    name="galore",
    title="GaLore",
    description="Adam on the encoder's matrices in the leading subspace of their gradients, AdamW on all else.",
    check=_read,
    prepare=_prepare,
    # The paper's scale, a third of MiniLM's width, and the library's interval: a run has few hundred steps.
    options={"rank": 128, "refresh": 50, "scale": 0.25},
    paper="arXiv 2403.03507",
    extra="pytorch-optimizer",
)
