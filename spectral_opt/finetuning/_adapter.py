"""Adapters by their names in PEFT, with its own options."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

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
    try:
        return make(**{"task_type": peft_type, **given})
    except (TypeError, ValueError, ImportError) as error:
        raise ValueError(f"peft {name!r} refuses its options: {' '.join(str(error).split())}") from error


def keep_fresh(model: Any, config: Any, fresh: Iterable[str]) -> list[str]:
    """Have PEFT train and save whole the modules with weights that the checkpoint lacks; return their names.

    Who loads the adapter would draw other weights for them. A ValueError where the method cannot.
    """
    # PEFT finds modules by the ends of their names, and keeps adapters off those alone that it is told in full.
    of_itself = [
        name
        for name, _ in model.named_modules()
        if config.task_type == "SEQ_CLS" and name.endswith(TRAINED_HEADS)
    ]
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

    states = RandomStates.capture()
    try:
        torch.manual_seed(seed)
        return get_peft_model(model, config)
    except ValueError as error:
        targets = getattr(config, "target_modules", None)
        raise ValueError(
            f"the adapter (target_modules {targets}) does not fit the model: {' '.join(str(error).split())}"
        ) from error
    finally:
        states.restore()
