"""Arguments of transformers' Trainer, from the options of a run and the number of its examples."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks

from paramgraph._checks import is_number, is_whole, known_choice
from spectral_opt.finetuning._launch import Launch
from spectral_opt.finetuning._run_folder import CHECKPOINTS
from spectral_opt.finetuning._task import TunedTask
from spectral_opt.finetuning.options import FineTuneOptions

# transformers' own for all weights; LoRA's usual, as its change starts from zero.
RATE, ADAPTER_RATE = 5e-5, 2e-4
# Evaluations of a run, and losses logged between two of them, where the options do not say.
EVALUATIONS, LOGS = 10, 10
# Passes over the texts where neither steps nor epochs are asked for; transformers' own.
EPOCHS = 3.0
# Fields that options decide, or on which checkpoints, resumption, records and scores stand, and what decides them.
RESUMED, SCORED = "what a run can resume from", "the evaluation, which reads all texts in one way"
OWN = {
    "output_dir": "--out",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "batch_size",
    "auto_find_batch_size": "batch_size",
    **dict.fromkeys(
        (
            "dataloader_drop_last",
            "prediction_loss_only",
            "batch_eval_metrics",
            "eval_do_concat_batches",
            "include_for_metrics",
        ),
        SCORED,
    ),
    # The first evaluation comes before training, and would leave the weights rounded.
    **dict.fromkeys(("fp16_full_eval", "bf16_full_eval"), "the weights, which stay float32"),
    "gradient_accumulation_steps": "accumulate",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "learning_rate": "learning_rate",
    "bf16": "bf16",
    **dict.fromkeys(("gradient_checkpointing", "activation_checkpointing"), "gradient_checkpointing"),
    "seed": "seed",
    "data_seed": "seed",
    "max_length": "max_length",
    **dict.fromkeys(
        ("eval_strategy", "eval_steps", "eval_delay", "logging_strategy", "logging_steps"), "evaluate_every"
    ),
    **dict.fromkeys(
        ("save_strategy", "save_steps", "save_total_limit", "save_only_model", "enable_jit_checkpoint"),
        "checkpoint_every",
    ),
    **dict.fromkeys(("load_best_model_at_end", "metric_for_best_model", "greater_is_better"), "patience"),
    "resume_from_checkpoint": "--out: the same command goes on",
    **dict.fromkeys(
        ("do_train", "do_eval", "do_predict", "eval_on_start"),
        "what the command does: it trains and evaluates",
    ),
    **dict.fromkeys(
        (
            "push_to_hub",
            "hub_model_id",
            "hub_strategy",
            "hub_token",
            "hub_private_repo",
            "hub_always_push",
            "hub_revision",
        ),
        "you: upload the finished folder",
    ),
    # Of TRL, which would change or ignore them after the conversations are counted and the model is open.
    **dict.fromkeys(
        ("chat_template_path", "eos_token", "pad_token", "model_init_kwargs"),
        "the model, which comes with its tokenizer",
    ),
    "trust_remote_code": "--trust-remote-code",
    **dict.fromkeys(("dataset_text_field", "dataset_kwargs"), "data"),
    **dict.fromkeys(("logging_nan_inf_filter", "restore_callback_states_from_checkpoint"), RESUMED),
    **dict.fromkeys(("disable_tqdm", "label_names", "remove_unused_columns", "ignore_data_skip"), RESUMED),
}
# What a field must be that has these types alone; of words transformers takes more than it says.
KINDS = (
    (bool, lambda value: isinstance(value, bool), "true or false"),
    (int, is_whole, "a whole number"),
    (float, is_number, "a number"),
    (dict, lambda value: isinstance(value, dict), "a mapping, such as {min_lr: 1e-6},"),
)


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
    steps = options.max_steps or math.ceil(epochs(options) * math.ceil(batches / options.accumulate))
    evaluate = options.evaluate_every or max(1, steps // EVALUATIONS)
    checkpoint = options.checkpoint_every or evaluate
    for name, every in (("evaluate_every", evaluate), ("checkpoint_every", checkpoint)):
        if every > steps:
            raise ValueError(f"{name} is {every}, and the run has {steps} steps: take {steps} or fewer")
    common = math.gcd(evaluate, checkpoint)
    log = next(every for every in range(min(LOGS, common), 0, -1) if common % every == 0)
    return Schedule(steps, log, evaluate, checkpoint)


def epochs(options: FineTuneOptions) -> float:
    """Give the passes over the texts that were asked for, or the usual number."""
    return options.epochs or EPOCHS


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
    options: FineTuneOptions, task: TunedTask[Any], out: Path, schedule: Schedule
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
        "num_train_epochs": epochs(options),
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
        **_device_fields(),
        # Pinned pages are for copies to a device: without one, torch warns.
        "dataloader_pin_memory": torch.cuda.is_available(),
        "report_to": "none",
        **options.trainer,
    }


def check_trainer_fields(options: FineTuneOptions, known: Any, launch: Launch) -> None:
    """Refuse further fields that are none of the arguments, that an option decides, or that cannot be meant so.

    Raises a ValueError, with what transformers, accelerate or a service for logs says where they refuse.
    """
    names = [item.name for item in dataclasses.fields(known)]
    types = get_type_hints(known)
    for name, value in options.trainer.items():
        known_choice("a field of trainer", name, names)
        if name in OWN:
            raise ValueError(f"trainer has {name!r}, which is decided by {OWN[name]}")
        allowed = {get_origin(kind) or kind for kind in get_args(types[name]) or (types[name],)}
        if dict in allowed and (name.endswith("_kwargs") or not isinstance(value, str)):
            allowed.discard(str)  # the name of a file, or JSON, which is a mapping by now
        found = [(is_kind, word) for kind, is_kind, word in KINDS if kind in allowed]
        is_plain = allowed <= {*(kind for kind, _, _ in KINDS), type(None)}
        if (
            is_plain
            and not (value is None and type(None) in allowed)
            and not any(ok(value) for ok, _ in found)
        ):
            raise ValueError(
                f"trainer has {name}={value!r}: {' or '.join(word for _, word in found)} is needed"
            )
    launch.check(options)
    if not options.trainer:  # the class may take a second to make
        return
    try:
        made = known(
            **{
                "output_dir": "unused",
                "bf16": options.bf16,
                "report_to": "none",
                **_device_fields(),
                **options.trainer,
            }
        )
        for callback in get_reporting_integration_callbacks(made.report_to):
            callback()
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"trainer {options.trainer}: {' '.join(str(error).split())}") from error


def check_steps(trainer: Trainer, steps: int) -> None:
    """Have the Trainer name its optimizer and make its schedule: it would do so after the first evaluation alone."""
    arguments = trainer.args
    try:
        trainer.get_optimizer_cls_and_kwargs(arguments, trainer.model)
        get_scheduler(
            arguments.lr_scheduler_type,
            torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]),
            num_warmup_steps=arguments.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
        )
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from error


def _device_fields() -> dict[str, bool]:
    """Say that the CPU is meant where there is nothing else: transformers refuses bf16 there unless it is told."""
    return {"use_cpu": not torch.accelerator.is_available()}
