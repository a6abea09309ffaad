"""A model that can run while its weights stay in their files."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from paramgraph.checkpoints._architecture import named_class
from paramgraph.checkpoints.correspondence import told
from paramgraph.checkpoints.location import Located, locate
from paramgraph.checkpoints.names_on_disk import ModuleWeights, in_module_names
from paramgraph.checkpoints.safetensors_files import open_files, stored_files
from paramgraph.checkpoints.skeleton import loadable_configuration
from paramgraph.checkpoints.weight_mapping import WeightMapping
from paramgraph.mapped_memory import MappedMemory

# As safetensors names them.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def open_mapped(model: str | Path | Located, memory: MappedMemory) -> nn.Module:
    """Make a model whose parameters are mapped from the safetensors files of its folder, frozen, in evaluation mode.

    Its class and dtype are those with which `from_pretrained(dtype="auto")` loads it. A file gives a weight up under
    memory pressure, so that a pass needs no more memory than what one layer computes with. What transformers casts or
    merges is written into `memory` once.

    ValueError where the description is refused (as by `loadable_configuration`) or names no class of transformers, a
    weight is missing, or has another shape than the description says. Needs accelerate (the extra "peft").
    """
    where = locate(model)
    config = loadable_configuration(where)
    kind = named_class(config)
    if kind is None:
        raise ValueError(
            f"{str(where.given)!r} names the architectures {config.architectures}, which transformers does not have"
        )
    folder = where.files()
    made = _without_weights(kind, config, folder)
    weights = in_module_names(open_files(folder, mapped=True), made)
    _check_weights(made, weights, str(where.given))
    _put_in(made, weights, memory)
    return made.eval()


def _without_weights(kind: Any, config: Any, folder: Path) -> nn.Module:
    """Make modules whose parameters are on the meta device, and whose buffers are real: rotations, masks."""
    try:
        from accelerate import init_empty_weights
    except ImportError as error:
        raise ImportError('weights in their files need accelerate: pip install "paramgraph[peft]"') from error
    dtype = config.dtype or _first_dtype(folder) or torch.get_default_dtype()
    # Nothing is drawn for what has no memory; the caller's random state must not hang on that.
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        made = kind._from_config(config, dtype=dtype)
    made.tie_weights()  # undone where each was put on the meta device
    _keep_wide(made, dtype)
    found: nn.Module = made
    return found


def _first_dtype(folder: Path) -> torch.dtype | None:
    """Find the type that transformers takes where none is described: the first floating one of the first file."""
    with safe_open(min(stored_files(folder)), framework="pt") as file:
        names = (file.get_slice(name).get_dtype() for name in file.keys())  # noqa: SIM118  # no mapping
        return next((DTYPES[name] for name in names if name in DTYPES), None)


def _keep_wide(model: Any, dtype: torch.dtype) -> None:
    """Widen what transformers keeps in float32 in a model of half precision, such as outputs in T5."""
    from transformers.core_model_loading import build_glob_alternation

    plan = model._get_dtype_plan(dtype)
    if not plan:
        return
    pattern, parts, _ = build_glob_alternation(list(plan))
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if (found := pattern.search(name)) is not None:
            value.data = value.data.to(plan[parts[found.lastgroup]])


def _check_weights(model: nn.Module, weights: WeightMapping, source: str) -> None:
    named = dict(model.named_parameters())
    lost = [name for name in named if weights.find(name) is None]
    if lost:
        raise ValueError(
            f"{source!r} lacks the weights {told(lost)}, which would be drawn at random: load the model, or give the "
            "class that was saved in `architectures` of its config.json"
        )
    for name, parameter in named.items():
        if weights.shape(name) != tuple(parameter.shape):
            raise ValueError(
                f"{source!r} is a checkpoint of another config: {name!r} has the shape {weights.shape(name)} in its "
                f"files, and {tuple(parameter.shape)} by config.json"
            )


def _put_in(model: nn.Module, weights: WeightMapping, memory: MappedMemory) -> None:
    put: dict[int, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        value = weights[name]
        has_file = isinstance(weights, ModuleWeights) and weights.stored_name(weights.resolve(name))
        if value.dtype != parameter.dtype or not has_file:  # made anew
            value = memory.keep(value.to(parameter.dtype))
        put[id(parameter)] = nn.Parameter(value, requires_grad=False)
    for module in model.modules():
        for name, found in module._parameters.items():
            if found is not None:
                module._parameters[name] = put[id(found)]  # a tied weight stays one
    for name, buffer in model.named_buffers():
        if (known := weights.find(name)) is not None:
            buffer.copy_(weights[known])
