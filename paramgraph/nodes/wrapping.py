"""Wrapped models: the bare model, and its names as they were before PEFT, `torch.compile` or FSDP came."""

from typing import Any, cast

from torch import nn

# Wrappers put the module that they wrap under these names.
WRAPPED = frozenset({"base_layer", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def unwrap(model: object) -> nn.Module:
    """Take a model out of the wrappers that only run it: data parallelism, `torch.compile` and Lightning's Fabric.

    Its `named_parameters()` name the nodes. What is no module, but the name of one, for example, raises a TypeError.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"a model is a torch.nn.Module, got {type(model).__name__}: load it first")
    bare: nn.Module = model
    while True:
        if isinstance(bare, nn.DataParallel | nn.parallel.DistributedDataParallel):
            bare = cast(nn.Module, bare.module)
        elif isinstance(getattr(bare, "_orig_mod", None), nn.Module):
            bare = cast(nn.Module, bare._orig_mod)
        elif {"_forward_module", "_original_module"} <= bare._modules.keys():  # Fabric's, under two names
            bare = cast(nn.Module, bare._original_module)
        else:
            return bare


def bare_names(model: nn.Module) -> dict[str, str]:
    """Name the modules of a model as if it had never been wrapped, and leave out what wrappers have added.

    Name in `model.named_modules()` to bare name, in that order; a wrapper and what it wraps have the same one. What
    PEFT adds are the layers of its adapters and, for `modules_to_save`, the copy that is not in use. They are
    recognised by their structure, so PEFT is not imported.

    >>> import torch
    >>> class Adapted(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.base_layer, self.lora_A = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
    >>> bare_names(torch.nn.Sequential(Adapted()))
    {'': '', '0': '0', '0.base_layer': '0'}
    """
    bare: dict[str, str] = {}
    added: set[str] = set()
    wrapped: set[str] = set()
    for name, module in model.named_modules():
        parent, _, part = name.rpartition(".")
        if name in added or (name and parent not in bare):
            continue  # an adapter, or inside one
        above = bare.get(parent, "")
        same = not name or part in WRAPPED or name in wrapped
        bare[name] = above if same else f"{above}.{part}" if above else part
        start = f"{name}." if name else ""
        added.update(start + child for child in _added(module))
        wrapped.update(start + child for child in _wrapped(module))
    return bare


def _added(module: nn.Module) -> set[str]:
    children = module._modules
    if isinstance(children.get("base_layer"), nn.Module):
        return set(children) - {"base_layer"}
    copies = _saved_copies(module)
    used = _used_copy(module, copies)
    if not used:  # no copies, or adapters switched off
        return {f"modules_to_save.{copy}" for copy in copies}
    return {"original_module", *(f"modules_to_save.{copy}" for copy in copies if copy != used)}


def _wrapped(module: nn.Module) -> set[str]:
    if _is_of_peft(module, "PeftModel", "PeftMixedModel"):
        return {"base_model"}
    if _is_of_peft(module, "BaseTuner"):
        return {"model"}
    copies = _saved_copies(module)
    used = _used_copy(module, copies)
    return {"modules_to_save", f"modules_to_save.{used}" if used else "original_module"} if copies else set()


def _saved_copies(module: nn.Module) -> list[str]:
    copies = module._modules.get("modules_to_save")
    return list(copies) if "original_module" in module._modules and isinstance(copies, nn.ModuleDict) else []


def _used_copy(module: Any, copies: list[str]) -> str:
    active = list(getattr(module, "active_adapters", ())) if copies else []
    return active[0] if active and active[0] in copies else ""


def _is_of_peft(module: Any, *names: str) -> bool:
    return any(
        kind.__module__.startswith("peft.") and kind.__name__ in names for kind in type(module).__mro__
    )
