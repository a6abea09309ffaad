"""The model of a finished run, put directly into its folder."""

import shutil
from pathlib import Path

from transformers import Trainer

from spectral_opt.finetuning._run_folder import STAGED

# transformers' arguments, pickled: nothing that loads a model reads them, and they name places of this machine.
NOT_KEPT = ("training_args.bin",)


def write_model(trainer: Trainer, out: Path) -> list[str]:
    """Write the model or adapter with its tokenizer into the folder; return the names of the files.

    All is written beside first: what is in the folder stays as it was until then.
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
    for name in names:
        (staged / name).replace(out / name)
    staged.rmdir()
    return names
