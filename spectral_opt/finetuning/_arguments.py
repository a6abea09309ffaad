"""Arguments of transformers' Trainer, from the options of a run and the number of its examples."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from paramgraph._checks import known_choice
from spectral_opt.finetuning._run_folder import CHECKPOINTS
from spectral_opt.finetuning._task import TunedTask
from spectral_opt.finetuning.options import FineTuneOptions

# transformers' own for all weights; LoRA's usual, as its change starts from zero.
RATE, ADAPTER_RATE = 5e-5, 2e-4
# Evaluations of a run, and losses logged between two of them, where the options do not say.
EVALUATIONS, LOGS = 10, 10
# Fields that options decide, or on which checkpoints, resumption and records stand.
OWN = {
    "output_dir": "--out",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "batch_size",
    "auto_find_batch_size": "batch_size",
    "dataloader_drop_last": "the evaluation, which reads all texts",
    "gradient_accumulation_steps": "accumulate",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "learning_rate": "learning_rate",
    "bf16": "bf16",
    **dict.fromkeys(("gradient_checkpointing", "activation_checkpointing"), "gradient_checkpointing"),
    "seed": "seed",
    "data_seed": "seed",
    "max_length": "max_length",
    **dict.fromkeys(("eval_strategy", "eval_steps", "logging_strategy", "logging_steps"), "evaluate_every"),
    **dict.fromkeys(
        ("save_strategy", "save_steps", "save_total_limit", "save_only_model"), "checkpoint_every"
    ),
    **dict.fromkeys(("load_best_model_at_end", "metric_for_best_model", "greater_is_better"), "patience"),
    **dict.fromkeys(("logging_nan_inf_filter", "restore_callback_states_from_checkpoint"), "nothing"),
    **dict.fromkeys(("disable_tqdm", "label_names", "remove_unused_columns", "ignore_data_skip"), "nothing"),
}


@dataclass(frozen=True)
class Schedule:
    """Steps of a run, and after how many it logs, evaluates and writes a checkpoint."""

    steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int


def make_schedule(options: FineTuneOptions, examples: int, world: int = 1) -> Schedule:
    """Count the steps; the loss is logged wherever a checkpoint is, so that a resumed run logs the same means.

    ValueError where evaluations or checkpoints would come after the end.
    """
    batches = math.ceil(examples / (options.batch_size * world))
    steps = options.max_steps or math.ceil(options.epochs * math.ceil(batches / options.accumulate))
    evaluate = options.evaluate_every or max(1, steps // EVALUATIONS)
    checkpoint = options.checkpoint_every or evaluate
    for name, every in (("evaluate_every", evaluate), ("checkpoint_every", checkpoint)):
        if every > steps:
            raise ValueError(f"{name} is {every}, and the run has {steps} steps: take {steps} or fewer")
    common = math.gcd(evaluate, checkpoint)
    log = next(every for every in range(min(LOGS, common), 0, -1) if common % every == 0)
    return Schedule(steps, log, evaluate, checkpoint)


def learning_rate(options: FineTuneOptions) -> float:
    """Give the learning rate that was asked for, or the usual one."""
    return options.learning_rate or (RATE if options.peft is None else ADAPTER_RATE)


def interval_fields(schedule: Schedule) -> dict[str, int]:
    """Write the fields that a schedule decides."""
    return {
        "logging_steps": schedule.log_every,
        "eval_steps": schedule.evaluate_every,
        "save_steps": schedule.checkpoint_every,
    }


def argument_fields(
    options: FineTuneOptions, task: TunedTask, out: Path, schedule: Schedule
) -> dict[str, Any]:
    """Write the fields of the Trainer's arguments; what the options do not say is transformers' own default."""
    keeps_best = options.patience is not None
    names = {item.name for item in dataclasses.fields(TrainingArguments)}
    # Its name since transformers 5.23.
    word = "activation" if "activation_checkpointing" in names else "gradient"
    # Said in both cases: TRL's own default is to do it.
    checkpointing: dict[str, Any] = {f"{word}_checkpointing": options.gradient_checkpointing}
    if options.gradient_checkpointing:
        checkpointing[f"{word}_checkpointing_kwargs"] = {"use_reentrant": False}
    return {
        "output_dir": str(out / CHECKPOINTS),
        "per_device_train_batch_size": options.batch_size,
        "per_device_eval_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.accumulate,
        "num_train_epochs": options.epochs,
        "max_steps": options.max_steps or -1,
        "learning_rate": learning_rate(options),
        "bf16": options.bf16,
        **checkpointing,
        "seed": options.seed,
        "data_seed": options.seed,
        "logging_strategy": "steps",
        # A mean without the steps that were no number would hide them.
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        **interval_fields(schedule),
        # The last and, while the next one is written, the one before it.
        "save_total_limit": 2,
        "load_best_model_at_end": keeps_best,
        "metric_for_best_model": f"eval_{task.score}",
        "greater_is_better": task.higher_is_better,
        "restore_callback_states_from_checkpoint": keeps_best,
        "label_names": ["labels"],
        "disable_tqdm": True,
        # transformers refuses bf16 on the CPU unless it is told that the CPU is meant.
        "use_cpu": not torch.accelerator.is_available(),
        # Pinned pages are for copies to a device: without one, torch warns.
        "dataloader_pin_memory": torch.cuda.is_available(),
        "report_to": "none",
        **options.trainer,
    }


def check_trainer_fields(given: Mapping[str, Any], known: Any) -> None:
    """Refuse further fields that are none of the arguments, or that an option decides."""
    names = [item.name for item in dataclasses.fields(known)]
    for name in given:
        known_choice("a field of trainer", name, names)
        if name in OWN:
            by = f"by {OWN[name]}" if OWN[name] != "nothing" else "by what a run can resume from"
            raise ValueError(f"trainer has {name!r}, which is decided {by}")
