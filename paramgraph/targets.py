"""Which layers of a model a table is made of: linear layers, chosen by PEFT's rule, each weight once."""

import contextlib
import difflib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Targets = str | Collection[str]

# Where models keep the layer that is made anew for each task; PEFT knows the first two.
HEAD_NAMES = (
    "score",
    "classifier",
    "lm_head",
    "qa_outputs",
    "head",
    "heads",
    "output_head",
    "classification_head",
)


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer of a model and its weight matrix.

    Parameters
    ----------
    module : str
        Name in `model.named_modules()`.
    parameter : str
        Name of the weight in `model.named_parameters()`; for a tied weight, its first name there.
    shape : (int, int)
        Shape of the weight as stored.
    transposed : bool
        Whether it is stored as (in, out), as Conv1D does, and not as (out, in).
    """

    module: str
    parameter: str
    shape: tuple[int, int]
    transposed: bool

    @property
    def layer(self) -> int:
        """The first number in the module's name, -1 where none."""
        return next((int(part) for part in self.module.split(".") if part.isdecimal()), -1)

    @property
    def role(self) -> str:
        """What follows that number, as "attention.self.query"; the whole name where nothing does."""
        parts = self.module.split(".")
        index = next((i for i, part in enumerate(parts) if part.isdecimal()), -1)
        return ".".join(parts[index + 1 :]) or self.module


def unwrap(model: Any) -> nn.Module:
    """Take a model out of the wrappers that only run it: data parallelism and `torch.compile`.

    Parameters
    ----------
    model : nn.Module
        Wrapped or bare.

    Returns
    -------
    nn.Module
        The module whose `named_parameters()` name the nodes.

    Raises
    ------
    TypeError
        If it is no module, but the name of one, for example.

    Examples
    --------
    >>> import torch
    >>> bare = torch.nn.Linear(2, 2)
    >>> unwrap(torch.nn.DataParallel(bare)) is bare
    True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"a model is a torch.nn.Module, got {type(model).__name__}: load it first")
    bare: nn.Module = model
    while True:
        if isinstance(bare, nn.DataParallel | nn.parallel.DistributedDataParallel):
            bare = cast(nn.Module, bare.module)
        elif isinstance(getattr(bare, "_orig_mod", None), nn.Module):
            bare = cast(nn.Module, bare._orig_mod)
        else:
            return bare


def storage_key(parameter: Tensor) -> tuple[object, ...]:
    """Identify the memory of a parameter, so that tied weights are found even under two `Parameter` objects.

    Parameters
    ----------
    parameter : Tensor
        A parameter; where it has no memory (on the meta device, or lazy), its identity is the key.

    Returns
    -------
    tuple
        Equal for two parameters exactly when they are the same entries in the same layout.
    """
    # Without memory yet, the pointer is null or an error; it must not tie all such weights together.
    pointer = 0 if parameter.is_meta or nn.parameter.is_lazy(parameter) else parameter.data_ptr()
    if pointer == 0:
        return (id(parameter),)
    return parameter.device, pointer, tuple(parameter.shape), parameter.stride()


def linear_layers(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> list[LinearLayer]:
    """List the targeted linear layers of a model, each weight once.

    Parameters
    ----------
    model : nn.Module
        Any module; wrappers are taken off.
    targets : str or sequence of str, default "all-linear"
        As in `node_tables`.
    exclude : str or sequence of str, optional
        Layers to leave out, in the same forms.

    Returns
    -------
    list of LinearLayer
        In the order of `named_modules()`; layers that share a weight appear once.

    Raises
    ------
    TypeError
        If `targets` or `exclude` is neither a string nor a sequence of strings.
    ValueError
        If nothing matches, a regular expression is broken, or a weight is not a plain matrix.
    """
    model = unwrap(model)
    wanted = _matcher(model, targets, "targets")
    unwanted = _matcher(model, exclude, "exclude") if exclude else lambda name: False
    first_name: dict[tuple[object, ...], str] = {}
    for name, parameter in model.named_parameters():
        first_name.setdefault(storage_key(parameter), name)
    found: dict[str, LinearLayer] = {}
    for name, module in model.named_modules():
        if _has_weight(module) and wanted(name) and not unwanted(name):
            shape = _matrix_shape(name, module)
            tied = first_name[storage_key(cast(Tensor, module.weight))]
            found.setdefault(tied, LinearLayer(name, tied, shape, isinstance(module, Conv1D)))
    if not found:
        raise ValueError(_nothing_matched(model, targets, exclude))
    return list(found.values())


def _has_weight(module: nn.Module) -> bool:
    # A parametrized layer (weight norm) computes its weight, which is then no parameter of the model.
    return isinstance(module, nn.Linear | Conv1D) and module._parameters.get("weight") is not None


def _matrix_shape(name: str, module: Any) -> tuple[int, int]:
    weight = module.weight
    if nn.parameter.is_lazy(weight):
        raise ValueError(f"layer {name!r} has no weight yet: run one batch through the model first")
    sizes = ("nx", "nf") if isinstance(module, Conv1D) else ("out_features", "in_features")
    expected = getattr(module, sizes[0]), getattr(module, sizes[1])
    if tuple(weight.shape) != expected or not weight.is_floating_point():
        raise ValueError(
            f"the weight of layer {name!r} is stored as {weight.dtype} {tuple(weight.shape)}, not as a "
            f"floating-point matrix {expected}; leave the layer out with exclude=[{name!r}]"
        )
    return expected


def _matcher(model: nn.Module, rule: Targets, argument: str) -> Callable[[str], bool]:
    if isinstance(rule, str) and rule.lower() == "all-linear":
        heads = _head_modules(model)
        return lambda name: not any(name == head or name.startswith(head + ".") for head in heads)
    if isinstance(rule, str):
        try:
            pattern = re.compile(rule)
        except re.error as error:
            raise ValueError(
                f"{argument}={rule!r} is not a regular expression ({error}); for names, give a list"
            ) from None
        return lambda name: pattern.fullmatch(name) is not None
    if not isinstance(rule, Collection) or not all(isinstance(entry, str) for entry in rule):
        raise TypeError(
            f"{argument} must be 'all-linear', a list of module names or one regular expression; got {rule!r}"
        )
    return lambda name: any(name == entry or name.endswith("." + entry) for entry in rule)


def _head_modules(model: nn.Module) -> set[str]:
    # A wrapper has the head of its language model one level down, so every module that may know one is asked.
    owners: list[Any] = [part for part in model.modules() if hasattr(part, "get_output_embeddings")]
    heads = {id(getattr(owner, name, None)) for owner in [model, *owners] for name in HEAD_NAMES}
    for owner in owners:
        with contextlib.suppress(NotImplementedError):
            heads.add(id(owner.get_output_embeddings()))
    return {name for name, module in model.named_modules() if name and id(module) in heads}


def _nothing_matched(model: nn.Module, targets: Targets, exclude: Targets | None) -> str:
    linear = [name for name, module in model.named_modules() if _has_weight(module)]
    asked = [targets] if isinstance(targets, str) else [str(entry) for entry in targets]
    # Users write the last components ("query"), so those are compared as well as whole names.
    endings = {".".join(name.split(".")[-size:]) for size in (3, 2, 1) for name in linear}
    known = [*sorted(endings), *linear]
    near = [match for entry in asked for match in difflib.get_close_matches(entry, known, n=3, cutoff=0.5)]
    have = (
        f"near names: {', '.join(dict.fromkeys(near))}"
        if near
        else f"it has {', '.join(linear[:6]) or 'none'}"
    )
    rest = f", exclude={exclude!r}" if exclude else ""
    return f"no linear layer of {type(model).__name__} matches targets={targets!r}{rest}; {have}"
