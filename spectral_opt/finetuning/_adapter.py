"""Adapters by their names in PEFT, with its own options."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from paramgraph._checks import known_choice
from paramgraph.sources import RandomStates

# Names that people say for an option of a method.
ALSO_CALLED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dora": ("lora", {"use_dora": True}),
    "rslora": ("lora", {"use_rslora": True}),
    "pissa": ("lora", {"init_lora_weights": "pissa"}),
}

# What PEFT trains and saves whole of a classifier by itself: modules whose names end so.
TRAINED_HEADS = ("classifier", "score")

# Starts of LoRA that PEFT makes of data which it must be given: without them it starts as usual, and does not say so.
OF_DATA = ("eva", "corda", "lora_ga")
# Fields that options decide, and what decides them.
OWN = {
    "task_type": "task",
    "inference_mode": "what the command does: it trains",
    "peft_type": "peft",
    "base_model_name_or_path": "model",
    "revision": "revision",
    **dict.fromkeys(("auto_mapping", "peft_version"), "PEFT"),
}
# Models whose kernels read this weight past its module, where PEFT's LoRA would be passed over: it refuses it there.
# Its own list is a local variable of a private function (peft 0.21.2), so that it is written here again.
STATE_SPACES = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
READ_PAST_ITS_MODULE = "out_proj"


def adapter_config(
    name: str, options: Mapping[str, Any], peft_type: str
) -> Any:  # of PEFT, which is not typed
    """Make PEFT's config of a method; ValueError or TypeError names what it does not know, or what it refuses.

    LoRA and its kin act on all linear layers unless `target_modules` says otherwise.
    """
    try:
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError as error:
        raise ImportError("adapters need peft: pip install 'paramgraph[finetune]'") from error
    methods = {str(kind.value).lower(): made for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    asked = name.lower().replace("-", "_")
    method, own = ALSO_CALLED.get(asked, (asked, {}))
    known_choice("peft", method, sorted({*methods, *ALSO_CALLED}))
    make = methods[method]
    usual = {"target_modules": "all-linear"} if method == "lora" else {}
    given = {**usual, **own, **options}
    for option in given:
        known_choice(f"an option of {name}", option, sorted(make.__dataclass_fields__))
    decided = {**OWN, **dict.fromkeys(own, f"peft {name!r}")}
    for option in options:
        if option in decided:
            raise ValueError(
                f"peft_options has {option!r}, which is decided by {decided[option]}: leave it out"
            )
    # Before PEFT, which warns of a start that is not going to be.
    if (start := str(given.get("init_lora_weights", "")).lower()) in OF_DATA:
        raise ValueError(
            f"peft {name!r} with init_lora_weights={start} needs data before it starts, which this run does not give "
            "it: it would start as any LoRA; leave it out, or take pissa"
        )
    try:
        config = make(**{"task_type": peft_type, **given})
    except (TypeError, ValueError, ImportError) as error:
        raise ValueError(f"peft {name!r} refuses its options: {' '.join(str(error).split())}") from error
    if reason := _unmet(config):
        raise ValueError(f"peft {name!r} {reason}")
    return config


def _unmet(config: Any) -> str:  # of PEFT
    """Say what a method needs that it is not given here, where PEFT would train something else, or not say what."""
    kind = str(config.peft_type.value).lower()
    start = str(getattr(config, "init_lora_weights", "")).lower()
    if kind == "adalora" or getattr(config, "use_asa", False):
        return (
            "gives out its ranks as it is told of each step, which transformers' Trainer does not tell it: they would "
            "never change; take lora"
        )
    if start.startswith("pissa_niter_"):
        return (
            f"with init_lora_weights={start} takes from the base what it finds at random, and who loads the adapter "
            "would find something else: take pissa, which is exact"
        )
    if config.is_prompt_learning and getattr(config, "num_virtual_tokens", None) is None:
        return "needs the number of tokens that it puts before a text: --peft-options num_virtual_tokens=20"
    return ""


def virtual_tokens(config: Any) -> int:  # of PEFT
    """Count the positions that an adapter takes before a text."""
    return int(config.num_virtual_tokens) if config is not None and config.is_prompt_learning else 0


def check_resumable(config: Any) -> None:  # of PEFT
    """Refuse to take up a checkpoint of an adapter that is trained through an encoder, which PEFT does not save."""
    kind = str(config.peft_type.value).lower()
    if kind == "p_tuning" or getattr(config, "prefix_projection", False):
        raise ValueError(
            f"PEFT keeps what the encoder of {kind} makes and not the encoder, so that no checkpoint can be taken up: "
            "train in a new folder and without patience, or take prompt_tuning"
        )


def check_checkpointing(config: Any) -> None:  # of PEFT
    """Refuse gradient checkpointing where the adapter would be put before the text once more in the backward pass."""
    if str(config.peft_type.value) == "PREFIX_TUNING":
        raise ValueError(
            "gradient_checkpointing runs each layer twice, and the second time keys and values of prefix_tuning would "
            "stand there twice: leave it out, or take prompt_tuning"
        )


def keep_fresh(model: Any, config: Any, fresh: Iterable[str]) -> list[str]:
    """Have PEFT train and save whole the modules with weights that the checkpoint lacks; return their names.

    Who loads the adapter would draw other weights for them. A ValueError where the method cannot.
    """
    saves_heads = config.task_type == "SEQ_CLS" and (
        hasattr(config, "modules_to_save") or config.is_prompt_learning
    )
    # PEFT finds modules by the ends of their names, and keeps adapters off those alone that it is told in full.
    of_itself = [name for name, _ in model.named_modules() if saves_heads and name.endswith(TRAINED_HEADS)]
    modules = [
        module
        for module in dict.fromkeys(name.rpartition(".")[0] for name in fresh)
        if not any(f"{module}.".startswith(f"{head}.") for head in of_itself)
    ]
    if modules and ("" in modules or not hasattr(config, "modules_to_save")):
        raise ValueError(
            f"the checkpoint lacks weights, such as {next(iter(fresh))}, that an adapter of this kind cannot save: "
            "tune all weights, or take lora"
        )
    if hasattr(config, "modules_to_save"):
        config.modules_to_save = (
            list(dict.fromkeys([*(config.modules_to_save or ()), *of_itself, *modules])) or None
        )
    return modules


def adapt(model: Any, config: Any, seed: int) -> Any:
    """Put the adapter on a model, drawn from the seed; ValueError where it finds nothing to act on.

    Global random states stay as they are.
    """
    from peft import get_peft_model

    targets = getattr(config, "target_modules", None)
    if targets == "all-linear" and getattr(model.config, "model_type", "") in STATE_SPACES:
        config.exclude_modules = config.exclude_modules or [READ_PAST_ITS_MODULE]
    states = RandomStates.capture()
    try:
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
        # Keys and values of a prefix have shapes that not every attention takes.
        if config.is_prompt_learning:
            with torch.no_grad():
                adapted.eval()(input_ids=torch.ones(1, 2, dtype=torch.int64, device=model.device))
        return adapted
    except torch.OutOfMemoryError:
        raise  # nothing that the adapter could help
    # PEFT says in errors of many kinds what does not fit.
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        name = str(config.peft_type.value).lower()
        name += f" (target_modules {targets})" if hasattr(config, "target_modules") else ""
        reason = f"the adapter {name} does not fit the model: {' '.join(str(error).split())}"
        if "target_modules" in reason and targets is None:
            reason += f"; its layers are {', '.join(_layer_names(model))}"
        raise ValueError(reason) from error
    finally:
        states.restore()


def _layer_names(model: nn.Module) -> list[str]:
    """Name the linear layers by the ends of their names, as PEFT's target_modules does."""
    kinds = (nn.Linear, Conv1D)
    return sorted({name.rpartition(".")[2] for name, one in model.named_modules() if isinstance(one, kinds)})
