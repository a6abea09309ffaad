"""The weights that a module computes with: its parameters, with LoRA adapters that are active added in."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.checkpoints.weight_mapping import WeightMapping, plain_name
from paramgraph.nodes import storage_key, unwrap


def open_module(model: nn.Module) -> WeightMapping:
    r"""Open the weights of a module, as detached tensors that share memory with it where no adapter is.

    A weight with active LoRA adapters on it is :math:`W + s B A`, computed when it is asked for; adapters that
    are disabled, or merged into W already, add nothing. A module that PEFT trains as a whole stands for the
    original one. All names of a tied weight find it; a lazy parameter has no value yet and is not there. Reading a
    weight whose adapter is of another kind (DoRA or not LoRA, of single tokens, of `nn.MultiheadAttention` or of a
    convolution with groups) raises a ValueError.
    """
    _refuse_prompts(model)
    parameters: dict[str, tuple[Tensor, nn.Module | None]] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, parameter, adapted in _parameters(model, "", None):
        if nn.parameter.is_lazy(parameter):
            continue
        # A tied weight under an adapter of its own is another weight.
        key = (*storage_key(parameter), id(adapted))
        if key in first:
            aliases[name] = first[key]
        else:
            first[key] = name
            parameters[name] = (parameter, adapted)

    def read(name: str) -> Tensor:
        parameter, adapted = parameters[name]
        if parameter.is_meta:
            raise ValueError(
                f"the parameter {name!r} of {type(model).__name__} is on the meta device: load it"
            )
        if adapted is None:
            return parameter.detach()
        return _with_adapters(adapted, parameter.detach(), name)

    def shape(name: str) -> tuple[int, ...]:
        return tuple(parameters[name][0].shape)

    return WeightMapping(type(model).__name__, parameters, read, aliases, shape, unwrap(model))


def _refuse_prompts(model: Any) -> None:
    configs, active = getattr(model, "peft_config", {}), getattr(model, "active_adapters", ())
    # transformers' own adapters, which it lists by a method, are never prompts.
    for adapter in active if configs and not callable(active) else ():
        if getattr(configs.get(adapter), "is_prompt_learning", False):
            raise ValueError(
                f"{type(model).__name__} has learned prompts ({adapter!r}), which change what the model computes and "
                "none of its weights"
            )


def _parameters(
    module: Any, prefix: str, adapted: nn.Module | None
) -> Iterator[tuple[str, Tensor, nn.Module | None]]:
    """Walk over parameters with their names and the adapter around them, leaving the adapters' own out."""
    if isinstance(getattr(module, "base_layer", None), nn.Module) and hasattr(module, "active_adapters"):
        # PEFT wraps single parameters, such as those of experts, one around the other.
        single = getattr(module, "parameter_name", None)
        packed = _is_packed(module)
        if packed and module.merged_adapters:  # the merged matrices are no parameters until it is unloaded
            raise ValueError(_packed_text(prefix))
        for name, parameter, inner in _parameters(module.base_layer, f"{prefix}base_layer.", module):
            yield name, parameter, module if packed or name.rpartition(".")[2] == single else inner
        return
    if isinstance(getattr(module, "token_adapter", None), nn.Module):  # single rows of an embedding
        yield from _parameters(module.token_adapter, prefix, adapted)
        return
    if hasattr(module, "original_module") and hasattr(module, "modules_to_save"):
        active = [name for name in module.active_adapters if name in module.modules_to_save]
        chosen = module.modules_to_save[active[0]] if active and not module.disable_adapters else None
        yield from _parameters(module.original_module if chosen is None else chosen, prefix, adapted)
        return
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield prefix + name, parameter, adapted
    for name, child in module._modules.items():
        if child is not None:
            yield from _parameters(child, f"{prefix}{name}.", adapted)


def _with_adapters(layer: Any, parameter: Tensor, name: str) -> Tensor:
    merged = set(getattr(layer, "merged_adapters", ()))
    active = [] if layer.disable_adapters else [a for a in layer.active_adapters if a not in merged]
    if not active:
        return parameter
    plain = plain_name(name)
    if not hasattr(layer, "lora_A"):
        raise ValueError(
            f"{plain!r} has an active adapter that is not LoRA: merge it first (merge_and_unload)"
        )
    active = [a for a in active if a in layer.lora_A or a in layer.lora_embedding_A]
    last = name.rpartition(".")[2]
    if active and _is_packed(layer) and last.endswith("weight"):
        raise ValueError(_packed_text(name))
    if last == "bias" and any(layer.lora_bias.get(a) for a in active):
        raise ValueError(f"{plain!r} is changed by lora_bias: merge the adapter first (merge_and_unload)")
    if not active or last != getattr(layer, "parameter_name", "weight"):
        return parameter
    variants = getattr(layer, "lora_variant", {})
    # MiCA is another start of the same s B A.
    if any(a in variants and not _class_name(variants[a]).startswith("MiCA") for a in active):
        raise ValueError(
            f"{plain!r} has an adapter of a LoRA variant such as DoRA: merge it first (merge_and_unload)"
        )
    if getattr(layer.get_base_layer(), "groups", 1) > 1:
        raise ValueError(
            f"{plain!r} has LoRA on a convolution with groups, no update of its weight of this shape: leave the layer "
            "out of target_modules"
        )
    total = parameter.to(torch.promote_types(parameter.dtype, torch.float32))
    for adapter in active:
        total = total + layer.get_delta_weight(adapter).detach().to(total)
    return total


def _is_packed(layer: Any) -> bool:
    """Tell whether PEFT has both matrices of an `nn.MultiheadAttention` in one layer, and adds to `out_proj` twice."""
    return isinstance(layer.base_layer, nn.MultiheadAttention) and not hasattr(layer, "parameter_name")


def _packed_text(name: str) -> str:
    return (
        f"{plain_name(name).rstrip('.')!r} has LoRA on nn.MultiheadAttention, whose update is not s B A of each "
        "matrix: merge it first (merge_and_unload)"
    )


def _class_name(kind: object) -> str:
    return (kind if isinstance(kind, type) else type(kind)).__name__
