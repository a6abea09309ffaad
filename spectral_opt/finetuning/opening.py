"""A run made ready: texts read, model loaded, trainer made; every mistake of a user's shows here, before training."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from paramgraph.digests import tensor_digest, text_digest
from spectral_opt.config import SpectralConfig
from spectral_opt.errors import DataError, ModelError
from spectral_opt.finetuning._adapter import (
    adapt,
    adapter_config,
    check_checkpointing,
    check_resumable,
    keep_fresh,
    virtual_tokens,
)
from spectral_opt.finetuning._arguments import (
    Schedule,
    argument_fields,
    check_steps,
    check_trainer_fields,
    interval_fields,
    make_schedule,
)
from spectral_opt.finetuning._callbacks import Advance, Explained, Progress, StopAtNaN, WholeCheckpoints
from spectral_opt.finetuning._causal import CausalLanguage
from spectral_opt.finetuning._checkpoint_weights import read_by_module_names
from spectral_opt.finetuning._classification import Classification
from spectral_opt.finetuning._disk import DiskNeed, check_disk, disk_need
from spectral_opt.finetuning._instruction import Instruction
from spectral_opt.finetuning._launch import Launch
from spectral_opt.finetuning._memory import MemoryNeed, check_memory, memory_need
from spectral_opt.finetuning._model_folder import save_tied_once
from spectral_opt.finetuning._spectral_part import (
    graph_bytes,
    preserved_batches,
    read_configs,
    read_preserved,
)
from spectral_opt.finetuning._task import Examples, TunedTask
from spectral_opt.finetuning.options import LEAST, FineTuneOptions, TuneTask
from spectral_opt.integrations import SpectralCallback
from spectral_opt.tasks import LoadedModel, limit_to_positions, load_model, locate_named

TASKS: Mapping[TuneTask, type[TunedTask[Any]]] = {
    "classification": Classification,
    "causal-lm": CausalLanguage,
    "instruction": Instruction,
}


@dataclass
class OpenedRun:
    """All that a run needs; `identity` pins texts, weights and configs, for a run that goes on."""

    options: FineTuneOptions
    task: TunedTask[Any]
    loaded: LoadedModel
    examples: Examples
    schedule: Schedule
    trainer: Trainer
    configs: tuple[SpectralConfig, ...]
    batches: Mapping[str, Sequence[Any]]  # calibration batches as the callback takes them
    adapter: Mapping[str, Any] | None
    memory: MemoryNeed | None
    identity: Mapping[str, str]
    preserved: str | None
    remarks: tuple[str, ...]

    def disk(self, out: Path) -> DiskNeed:
        """Estimate what the run writes into a folder, and refuse with a ValueError what has no room there."""
        optimizer = str(self.trainer.args.optim.value)
        model, graphs = self.trainer.model, graph_bytes(self.trainer.model, self.configs)
        need = disk_need(model, self.schedule, optimizer, out, self.trainer.is_fsdp_enabled, graphs)
        check_disk(need)
        return need


class RunInputs:
    """What can be known of a run without its weights: options, configs and texts are held against each other."""

    def __init__(self, options: FineTuneOptions, workers: int | None = None) -> None:
        self.options, self.workers = options, workers
        kind = TASKS[options.task]
        check_installed(options, kind)
        self.configs = read_configs(options)
        if self.configs:
            SpectralCallback(self.configs, workers=workers)  # refuses what a callback cannot do
        elif workers is not None:
            raise ValueError("workers build graphs, and would be ignored without spectral: leave them out")
        self.adapter = adapter_of(options, kind)
        self.launch = Launch.of(options)
        if workers is not None and self.launch.ranks > 1:
            raise ValueError(
                f"rank 0 of {self.launch.ranks} builds the graphs, so workers would be ignored: leave them out"
            )
        check_trainer_fields(options, _arguments_class(kind, options), self.launch)
        _check_bfloat16(options)
        self.task = kind(options)
        self.preserved = read_preserved(options, self.task.trained_texts())

    def check_resumable(self) -> None:
        """Refuse with a ValueError an adapter of which no checkpoint can be taken up."""
        if self.adapter is not None:
            check_resumable(self.adapter)

    @property
    def text_digest(self) -> str:
        """Pin all texts."""
        return text_digest(self.task.digest, *(self.preserved[1] if self.preserved else ()))


def open_run(inputs: RunInputs, out: Path, advance: Advance) -> OpenedRun:
    """Load the model and make the trainer; ModelError or ValueError refuses what cannot be trained."""
    options, task = inputs.options, inputs.task
    memory = _memory(options, inputs.launch)
    loaded = _loaded(options, task)
    identity = {
        "texts": inputs.text_digest,
        "weights": tensor_digest(*loaded.encoder.state_dict().values()),
        "configs": text_digest(*(config.to_json() for config in inputs.configs)),
    }
    tokenizer = loaded.tokenizer
    model: Any = loaded.encoder
    remarks = [*loaded.provenance.notes, *_limited(loaded, inputs.adapter)]
    examples = task.examples(loaded, options)
    remarks += examples.remarks
    if loaded.unread:
        remarks.append(f"weights of the checkpoint that the model has no place for: {len(loaded.unread)}")
    batches: dict[str, Sequence[Any]] = {}
    if inputs.preserved is not None:
        made, cut = preserved_batches(tokenizer, inputs.preserved[1], options, task.head == "language_model")
        batches["preserve"] = made
        remarks.append(
            f"preserved texts: {len(inputs.preserved[1])}" + (f", {cut} of them cut" if cut else "")
        )
    if inputs.adapter is not None:
        whole = keep_fresh(model, inputs.adapter, loaded.fresh)
        if whole:
            remarks.append(f"trained and saved whole, since the checkpoint lacks them: {', '.join(whole)}")
        model = adapt(model, inputs.adapter, options.seed)
    callbacks: list[TrainerCallback] = []
    if inputs.configs:
        spectral = SpectralCallback(
            inputs.configs, batches or None, calibration_seed=options.seed, workers=inputs.workers
        )
        callbacks += [spectral, Explained(spectral)]
    if options.patience is not None:
        callbacks.append(EarlyStoppingCallback(options.patience))
    callbacks += [StopAtNaN(), WholeCheckpoints(), Progress(advance)]
    own = TrainingArguments(output_dir="unused", report_to="none")
    world = own.world_size * max(1, own.n_gpu)  # one process may feed several devices
    schedule = make_schedule(options, len(examples.train), world)
    fields = argument_fields(options, task, out, schedule)
    arguments = task.arguments(fields, examples.max_length)
    trainer = task.trainer(model, arguments, examples, tokenizer, callbacks)
    trainer.remove_callback(PrinterCallback)  # what it prints stands in the record
    if trainer.is_fsdp_enabled:
        save_tied_once(trainer)
    elif inputs.adapter is None and not trainer.is_deepspeed_enabled:
        read_by_module_names(trainer)
    for part, given, taken in (
        ("train", examples.train, trainer.train_dataset),
        ("evaluation", examples.evaluation, trainer.eval_dataset),
        ("test", examples.test or (), task.tested(examples) or ()),
    ):
        if len(given) and not len(taken):
            raise DataError(
                f"of all {len(given)} examples of {part} the cut at {examples.max_length} tokens left nothing to "
                "learn: take a larger max_length"
            )
        if options.trainer.get("packing"):
            remarks.append(f"examples of {part} packed into {len(taken)} of {examples.max_length} tokens")
        elif len(taken) < len(given):
            remarks.append(
                f"examples of {part} of which the cut left nothing to learn: {len(given) - len(taken)}"
            )
    # TRL may have left some out, or put several into one.
    schedule = make_schedule(options, len(trainer.train_dataset), world)
    for name, value in interval_fields(schedule).items():
        setattr(trainer.args, name, value)
    check_steps(trainer, schedule.steps)
    return OpenedRun(
        options,
        task,
        loaded,
        examples,
        schedule,
        trainer,
        inputs.configs,
        batches,
        None if inputs.adapter is None else _plain(inputs.adapter.to_dict()),
        memory,
        identity,
        None if inputs.preserved is None else str(inputs.preserved[0].provenance),
        tuple(remarks),
    )


def _loaded(options: FineTuneOptions, task: TunedTask[Any]) -> LoadedModel:
    try:
        loaded = load_model(
            options.model,
            head=task.head,
            revision=options.revision,
            trust_remote_code=options.trust_remote_code,
            label_names=task.label_names,
            seed=options.seed,
        )
    except ModelError as error:
        if "auto_map" in str(error):
            raise ModelError(f"{error}; --trust-remote-code lets it run on this machine") from error
        raise
    _check_body(loaded)
    return loaded


def _limited(loaded: LoadedModel, adapter: Any) -> list[str]:  # PEFT's config
    """Leave room for the tokens that an adapter puts before a text, and say so; ValueError where none is left."""
    tokenizer, before = loaded.tokenizer, virtual_tokens(adapter)
    most = tokenizer.model_max_length
    limit_to_positions(tokenizer, loaded.encoder, before)
    left = tokenizer.model_max_length
    if left < LEAST["max_length"]:
        raise ValueError(
            f"num_virtual_tokens is {before}, and with a text they have {left + before} positions: take at most "
            f"{left + before - LEAST['max_length']}"
        )
    return [f"texts end at {left} tokens, as the adapter puts {before} before them"] if left < most else []


def adapter_of(options: FineTuneOptions, kind: type[TunedTask[Any]]) -> Any:  # PEFT's config
    """Make the config of the adapter that is asked for; None where there is none.

    A ValueError refuses what other options ask of it that it cannot do.
    """
    if options.peft is None:
        return None
    config = adapter_config(options.peft, options.peft_options, kind.peft_type)
    config.revision = options.revision
    if options.gradient_checkpointing:
        check_checkpointing(config)
    if options.patience is not None:
        check_resumable(config)
    return config


def check_installed(options: FineTuneOptions, kind: type[TunedTask[Any]]) -> None:
    """Refuse, with the line for pip, what further packages are needed for."""
    import importlib.util

    needed = ["accelerate", *(["peft"] if options.peft else []), *kind.needs]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"finetune needs {' and '.join(missing)}: pip install 'paramgraph[finetune]'")


def _arguments_class(
    kind: type[TunedTask[Any]], options: FineTuneOptions
) -> Any:  # a class of transformers or TRL
    if "trl" not in kind.needs or not options.trainer:  # TRL takes seconds to import
        return TrainingArguments
    from trl import SFTConfig

    return SFTConfig


def _check_bfloat16(options: FineTuneOptions) -> None:
    """Refuse what older devices cannot do; the CPU can."""
    if options.bf16 and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise ValueError(
            f"bf16 is asked for, and {torch.cuda.get_device_name()} does not support it: leave it out"
        )


def _memory(options: FineTuneOptions, launch: Launch) -> MemoryNeed | None:
    """Estimate from the headers what the run needs, and refuse what cannot fit; None where there are none."""
    try:
        # Of a model on the hub the weights are fetched here, and not loaded.
        folder = locate_named(options.model, options.revision).files()
        optimizer = str(options.trainer.get("optim", "adamw_torch"))
        need = memory_need(folder, options.peft is not None, optimizer, launch)
    except ValueError:  # no such model, or no safetensors: loading says so in its own words
        return None
    check_memory(need, options.peft is not None)
    return need


def _check_body(loaded: LoadedModel) -> None:
    """Refuse a checkpoint that lacks weights inside the model's blocks: it is of another config."""
    lost = [name for name in loaded.fresh if re.search(r"\.\d+\.", name)]
    if lost:
        raise ModelError(
            f"the checkpoint of {loaded.name!r} lacks {len(lost)} weights that its config.json describes, such as "
            f"{lost[0]}: it is of another config"
        )


def _plain(value: Any) -> Any:  # PEFT's enums and sets
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return (
        value
        if value is None
        or (isinstance(value, bool | int | float | str) and type(value) in (bool, int, float, str))
        else str(getattr(value, "value", value))
    )
