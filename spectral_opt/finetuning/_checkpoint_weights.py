"""Weights of a checkpoint, taken up under the names that the model has in memory.

The Trainer writes a checkpoint as `save_pretrained` does, under the names on disk, and reads it by `load_state_dict`,
which passes over each name that the model does not have: the weights would stay those that it was loaded with.
"""

from pathlib import Path

import torch
from torch import nn
from transformers import Trainer

from paramgraph.checkpoints import in_module_names, open_files, told
from spectral_opt.errors import ModelError


def read_by_module_names(trainer: Trainer) -> None:
    """Have a Trainer that saves all weights itself take them up by the names of the model's modules.

    Shards and adapters are written and read under one set of names, by torch and by PEFT.
    """
    model: nn.Module = trainer.model

    def from_checkpoint(folder: str, model: nn.Module = model) -> None:
        take_up(model, Path(folder))

    def best() -> None:
        take_up(model, Path(str(trainer.state.best_model_checkpoint)))

    # No public name takes another way of reading.
    trainer._load_from_checkpoint, trainer._load_best_model = from_checkpoint, best


def take_up(model: nn.Module, folder: Path) -> None:
    """Copy the weights of a checkpoint into its model; ModelError where either has some that the other lacks."""
    weights = in_module_names(open_files(folder), model)
    places = model.state_dict()
    unsaved = getattr(model, "_keys_to_ignore_on_save", None) or ()
    lacking = [name for name in places if name not in weights.all_names and name not in unsaved]
    strange = [name for name in weights if name not in places]
    if lacking or strange:
        parts = [f"lacks {told(lacking)}"] * bool(lacking)
        parts += [f"has {told(strange)}, which the model has not"] * bool(strange)
        raise ModelError(
            f"the weights of {folder} cannot be taken up: it {' and '.join(parts)}; they were written by another "
            "version of transformers: go on with that one, or remove the folder"
        )
    with torch.no_grad():
        for name in weights:
            places[name].copy_(weights[name])
