"""Which layers of a model a table is made of: linear layers, chosen by PEFT's rule, each weight once."""

import contextlib
import difflib
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import nn

from paramgraph.nodes.linear_modules import LinearLayer, WeightedLayer, storage_key, weighted_layers
from paramgraph.nodes.wrapping import bare_names, unwrap

__all__ = ["LinearLayer", "Targets", "linear_layers", "matched_layers", "storage_key", "unwrap"]

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
    found: dict[str, LinearLayer] = {}
    for layer in matched_layers(model, targets, exclude).values():
        found.setdefault(layer.parameter, layer)
    return list(found.values())


def matched_layers(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None, packed: bool = False
) -> dict[str, LinearLayer]:
    """Find the targeted layers under their bare names, all layers that share a weight included.

    Parameters
    ----------
    model : nn.Module
        Any module; wrappers are taken off.
    targets : str or sequence of str, default "all-linear"
        As in `node_tables`.
    exclude : str or sequence of str, optional
        Layers to leave out, in the same forms.
    packed : bool, default False
        Whether the weights that `nn.MultiheadAttention` keeps outside of layers count too. They match where
        the attention module does, or by the name of the parameter.

    Returns
    -------
    dict of str to LinearLayer
        In the order of `named_modules()`.

    Raises
    ------
    TypeError
        If `targets` or `exclude` is neither a string nor a sequence of strings.
    ValueError
        If nothing matches, a regular expression is broken, or a weight is not a plain matrix.
    """
    model = unwrap(model)
    layers = weighted_layers(model, packed)
    wanted = _matcher(model, targets, "targets")
    unwanted = _matcher(model, exclude, "exclude") if exclude else lambda names: False
    found: dict[str, LinearLayer] = {}
    for bare, weighted in layers.items():
        # Names are accepted as they were before PEFT came and as they are now.
        names = [bare, weighted.raw, weighted.raw.removesuffix(".base_layer")]
        if wanted(names) and not unwanted(names):
            _check_matrix(bare, weighted)
            found[bare] = weighted.layer
    if not found:
        raise ValueError(_nothing_matched(model, list(layers), targets, exclude))
    return found


def _check_matrix(name: str, weighted: WeightedLayer) -> None:
    weight, expected = weighted.weight, weighted.layer.shape
    if nn.parameter.is_lazy(weight):
        raise ValueError(f"layer {name!r} has no weight yet: run one batch through the model first")
    if tuple(weight.shape) != expected or not weight.is_floating_point():
        raise ValueError(
            f"the weight of layer {name!r} is stored as {weight.dtype} {tuple(weight.shape)}, not as a "
            f"floating-point matrix {expected}; leave the layer out with exclude=[{name!r}]"
        )


def _matcher(model: nn.Module, rule: Targets, argument: str) -> Callable[[Sequence[str]], bool]:
    if isinstance(rule, str) and rule.lower() == "all-linear":
        heads = _head_modules(model)
        return lambda names: not any(names[0] == head or names[0].startswith(head + ".") for head in heads)
    if isinstance(rule, str):
        try:
            pattern = re.compile(rule)
        except re.error as error:
            raise ValueError(
                f"{argument}={rule!r} is not a regular expression ({error}); for names, give a list"
            ) from None
        return lambda names: any(pattern.fullmatch(name) is not None for name in names)
    if not isinstance(rule, Collection) or not all(isinstance(entry, str) for entry in rule):
        raise TypeError(
            f"{argument} must be 'all-linear', a list of module names or one regular expression; got {rule!r}"
        )
    return lambda names: any(name == entry or name.endswith("." + entry) for name in names for entry in rule)


def _head_modules(model: nn.Module) -> set[str]:
    """List the bare names of output embeddings and of the heads that are made anew for each task."""
    # A wrapper has the head of its language model one level down, so every module that may know one is asked.
    owners: list[Any] = [part for part in model.modules() if hasattr(part, "get_output_embeddings")]
    heads = {id(getattr(owner, name, None)) for owner in [model, *owners] for name in HEAD_NAMES}
    for owner in owners:
        with contextlib.suppress(NotImplementedError):
            heads.add(id(owner.get_output_embeddings()))
    modules = dict(model.named_modules())
    return {bare for raw, bare in bare_names(model).items() if bare and id(modules[raw]) in heads}


def _nothing_matched(
    model: nn.Module, linear: Sequence[str], targets: Targets, exclude: Targets | None
) -> str:
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
