"""What a run adds to transformers' Trainer: whole checkpoints, an end where the loss is no number, and progress."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spectral_opt.errors import TrainingDivergedError
from spectral_opt.finetuning._run_folder import mark_whole
from spectral_opt.integrations import SpectralCallback

Advance = Callable[[float, str], None]

# `given` is Any: whatever the Trainer passes on.


class WholeCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Mark each checkpoint as whole once all of it is written, what other callbacks add as well."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Mark it; it comes after callbacks that were there before, and after what other ranks write."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
        if args.should_save:
            mark_whole(Path(str(args.output_dir), f"checkpoint-{state.global_step}"))


class Explained(TrainerCallback):  # type: ignore[misc]
    """Keep what penalty and filter said of themselves when they were attached: their handle is gone at the end."""

    def __init__(self, spectral: SpectralCallback) -> None:
        self._spectral = spectral
        self.text: str | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Ask at the first step: callbacks that were there before have all begun by then."""
        if self.text is None and self._spectral.handle is not None:
            self.text = str(self._spectral.handle.explanation)


class StopAtNaN(TrainerCallback):  # type: ignore[misc]
    """End a run whose loss or gradient is no number, before the next checkpoint is written."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Look at what is logged; the loss of each step counts in it."""
        for name in ("loss", "grad_norm", "eval_loss"):
            value = (logs or {}).get(name)
            if value is None or math.isfinite(float(value)):
                continue
            if not (name == "grad_norm" and _is_scaled_down(given.get("optimizer"))):
                raise TrainingDivergedError(f"{name} is {float(value)} at step {state.global_step}")


def _is_scaled_down(optimizer: object) -> bool:
    """Say whether float16 overflowed under a scale of the loss: the scaler has skipped such a step, as the first are.

    Below a scale of 1 it is the gradient itself that overflows. Fused optimizers do not say what they have skipped.
    """
    scaler = optimizer.scaler if isinstance(optimizer, AcceleratedOptimizer) else None
    return scaler is not None and scaler.get_scale() >= 1


class Progress(TrainerCallback):  # type: ignore[misc]
    """Tell how far the steps are, and what the loss was last."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._loss = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Begin where an interrupted run was."""
        self._advance(state.global_step / max(state.max_steps, 1), "training")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Count a step."""
        self._advance(1 / max(state.max_steps, 1), f"step {state.global_step}{self._loss}")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Remember the loss."""
        if logs and "loss" in logs:
            self._loss = f", loss {float(logs['loss']):.4g}"
