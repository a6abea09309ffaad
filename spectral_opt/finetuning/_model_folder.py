"""The model of a finished run, put directly into its folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Trainer

from paramgraph.whole_files import give_mode
from spectral_opt.finetuning._run_folder import RECORD, STAGED

# transformers' arguments, pickled: nothing that loads a model reads them, and they name places of this machine.
NOT_KEPT = ("training_args.bin",)


def save_tied_once(trainer: Trainer) -> None:
    """Have weights that shards are gathered into share memory where the model has them tied: each is saved once."""
    gather = trainer.accelerator.get_state_dict

    def gathered(model: nn.Module, unwrap: bool = True) -> dict[str, Tensor]:
        return with_ties(gather(model, unwrap), getattr(trainer.model, "all_tied_weights_keys", {}))

    trainer.accelerator.get_state_dict = gathered


def with_ties(state: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Put one tensor in the place of those that are tied to it and equal, by their names, target to source."""
    found = dict(state)
    for target, source in tied.items():
        if target in found and source in found and torch.equal(found[target], found[source]):
            found[target] = found[source]
    return found


def write_model(trainer: Trainer, out: Path) -> list[str]:
    """Write the model or adapter with its tokenizer into the folder; return the names of the files.

    All is written beside first: what is in the folder stays as it was until then. Who may read the record may read it.
    """
    staged = out / STAGED
    if trainer.is_world_process_zero():
        shutil.rmtree(staged, ignore_errors=True)
    trainer.save_model(str(staged))
    if not trainer.is_world_process_zero():
        return []
    for name in NOT_KEPT:
        (staged / name).unlink(missing_ok=True)
    names = sorted(path.name for path in staged.iterdir())
    mode = (out / RECORD).stat().st_mode  # safetensors makes its files the owner's alone
    for name in names:
        if (staged / name).is_file():
            give_mode(staged / name, mode)
        (staged / name).replace(out / name)
    staged.rmdir()
    return names
