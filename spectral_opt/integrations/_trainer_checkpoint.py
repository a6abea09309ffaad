"""The spectral state inside a checkpoint folder of a Trainer: where it lies, how it is written and read."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from paramgraph.whole_files import replacing

STATE_FILE = "spectral_state.safetensors"


def calling_trainer() -> tuple[Any, Any]:
    """Find the Trainer that is calling its callbacks, and its `resume_from_checkpoint`, a folder once it has begun.

    A Trainer gives its callbacks neither, so they are read from its frame; (None, None) where none is calling.
    """
    frame = inspect.currentframe()
    while frame is not None:
        found = frame.f_locals
        if "resume_from_checkpoint" in found and hasattr(found.get("self"), "callback_handler"):
            return found["self"], found["resume_from_checkpoint"]
        frame = frame.f_back
    return None, None


def checkpoint_folder(output_dir: Any, step: int) -> Path:
    """Say where a Trainer keeps the checkpoint of a `global_step`."""
    return Path(output_dir) / f"checkpoint-{step}"


def write_state(folder: Path, state: Mapping[str, Tensor], step: int) -> None:
    """Write a spectral state into a checkpoint; a run killed meanwhile leaves no half file under its name."""
    with replacing(folder / STATE_FILE) as unfinished:
        save_file({**state, "global_step": torch.tensor(step, dtype=torch.int64)}, unfinished)


def read_state(folder: Path, step: int) -> dict[str, Tensor]:
    """Read the spectral state of a checkpoint; ValueError if it is missing, broken, or of another step."""
    path = folder / STATE_FILE
    if not path.is_file():
        raise ValueError(
            f"the checkpoint {str(folder)!r} has no {STATE_FILE}, so this run cannot go on as it began: resume from a "
            "checkpoint that was written with SpectralCallback, or train anew without resume_from_checkpoint"
        )
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read: {error}; resume from an earlier checkpoint"
        ) from error
    found = int(state.pop("global_step", torch.tensor(-1)))
    if found != step:
        raise ValueError(
            f"{str(path)!r} is of step {found}, but training resumes at step {step}; resume from a checkpoint whose "
            "files were written together"
        )
    return state
