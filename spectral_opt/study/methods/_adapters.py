"""Adapters of PEFT on the encoder of a run; a head is trained as a whole."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from paramgraph.sources import RandomStates
from spectral_opt.study import Training
from spectral_opt.study.methods._matrices import matrix_names

MakeConfig = Callable[
    [list[str]], Any
]  # a PeftConfig of the names of layers; PEFT is imported where it is used


def adapt(training: Training, make_config: MakeConfig, *, merges: bool = True) -> None:
    """Put adapters on the linear layers of the encoder, in place, drawn from the seed of the setting.

    Nothing else of the encoder is trained. Where PEFT `merges`, the run ends with weights under the start's own names.
    """
    from peft import get_peft_model

    layers = [name.removesuffix(".weight") for name in matrix_names(training.encoder)]
    states = RandomStates.capture()
    try:
        # PEFT draws from the global generator.
        torch.manual_seed(0 if training.setting is None else training.setting.seed)
        training.encoder = get_peft_model(training.encoder, make_config(layers))
    finally:
        states.restore()
    # PEFT passes over layers that a method of it does not know, such as GPT-2's transposed ones.
    adapted: Any = training.encoder
    if not any(parameter.requires_grad for parameter in adapted.parameters()):
        kind = type(adapted.peft_config["default"]).__name__.removesuffix("Config")
        raise ValueError(
            f"PEFT's {kind} has found none of the {len(layers)} layers of the model that it could act on: leave the "
            "method out, or take lora"
        )
    training.is_mergeable = merges
    if merges:
        training.finish = partial(_merged, training)


def _merged(training: Training, model: Any) -> Any:
    training.model = model
    training.encoder = training.encoder.merge_and_unload()
    return training.model
