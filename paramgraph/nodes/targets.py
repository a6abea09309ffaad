"""Which layers of a model a table is made of: linear layers, chosen by PEFT's rule, each weight once."""

import contextlib
import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from paramgraph.nodes.linear_modules import LinearLayer, WeightedLayer, weighted_layers
from paramgraph.nodes.wrapping import bare_names, unwrap

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

# None of these is in a module's name; a dot is, and stands for itself unless one of these is there as well.
_REGULAR_EXPRESSION = frozenset("*+?[](){}|\\^$")


def targets_of_words(words: Sequence[str]) -> str | list[str]:
    """Read a rule that was written as words: "all-linear" or a regular expression alone is one, all else are names."""
    if len(words) == 1 and (words[0].lower() == "all-linear" or _REGULAR_EXPRESSION & set(words[0])):
        return words[0]
    return list(words)


def linear_layers(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> list[LinearLayer]:
    """List the targeted linear layers, each weight once, in the order of `named_modules()`; as `matched_layers`."""
    return each_weight_once(matched_layers(model, targets, exclude).values())


def each_weight_once(layers: Iterable[LinearLayer]) -> list[LinearLayer]:
    """Keep the first of layers that share a weight."""
    first: dict[str, LinearLayer] = {}
    for layer in layers:
        first.setdefault(layer.parameter, layer)
    return list(first.values())


def matched_layers(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None, packed: bool = False
) -> dict[str, LinearLayer]:
    """Find the targeted layers under their bare names, all layers that share a weight included.

    Wrappers are taken off, and rules are those of `node_tables`. `packed` counts the weights that
    `nn.MultiheadAttention` keeps outside of layers; they match where the attention module does, or by the name of
    the parameter. A ValueError has the near names of a target or an exclude that matches nothing, a regular
    expression that is broken, or a weight that is no plain matrix; a TypeError, a rule that is no rule.
    """
    model = unwrap(model)
    layers = weighted_layers(model, packed)
    wanted = _chosen(model, layers, targets, "targets")
    # What only the scheme "heads" sees may be excluded from all: it is in the model, and left out indeed.
    excludable = weighted_layers(model, packed=True) if exclude else {}
    unwanted = _chosen(model, excludable, exclude, "exclude") if exclude else set()
    found = {name: layers[name] for name in layers if name in wanted and name not in unwanted}
    if not found:
        rest = f", exclude={exclude!r}" if exclude else ""
        raise ValueError(_nothing(model, layers, f"targets={targets!r}{rest}", _entries(targets)))
    for name, weighted in found.items():
        _check_matrix(name, weighted)
    return {name: weighted.layer for name, weighted in found.items()}


def _check_matrix(name: str, weighted: WeightedLayer) -> None:
    weight, expected = weighted.weight, weighted.layer.shape
    if nn.parameter.is_lazy(weight):
        raise ValueError(f"layer {name!r} has no weight yet: run one batch through the model first")
    if tuple(weight.shape) != expected or not weight.is_floating_point():
        raise ValueError(
            f"the weight of layer {name!r} is stored as {weight.dtype} {tuple(weight.shape)}, not as a "
            f"floating-point matrix {expected}; leave the layer out with exclude=[{name!r}]"
        )


def _chosen(model: nn.Module, layers: Mapping[str, WeightedLayer], rule: Targets, argument: str) -> set[str]:
    """Name the layers that a rule means; an entry that means none is a slip of the pen, and would pass unseen."""
    entries = _entries(rule, argument)
    accepts = _acceptance(model, rule, argument)
    hits = {
        entry: {bare for bare, weighted in layers.items() if accepts(entry, _names(bare, weighted))}
        for entry in entries
    }
    if missed := [entry for entry, found in hits.items() if not found]:
        which = ", ".join(map(repr, missed)) + " of " if len(missed) < len(hits) else ""
        raise ValueError(_nothing(model, layers, f"{which}{argument}={rule!r}", missed))
    return set().union(*hits.values())


def _entries(rule: Targets, argument: str = "targets") -> list[str]:
    if isinstance(rule, str):
        return [rule]
    if not isinstance(rule, Collection) or not all(isinstance(entry, str) for entry in rule):
        raise TypeError(
            f"{argument} must be 'all-linear', a list of module names or one regular expression; got {rule!r}"
        )
    return list(rule)


def _names(bare: str, weighted: WeightedLayer) -> list[str]:
    # Names are accepted as they were before PEFT came and as they are now.
    return [bare, weighted.raw, weighted.raw.removesuffix(".base_layer")]


def _acceptance(model: nn.Module, rule: Targets, argument: str) -> Callable[[str, Sequence[str]], bool]:
    """Decide how an entry of a rule is compared with the names of a layer."""
    if not isinstance(rule, str):
        return lambda entry, names: any(name == entry or name.endswith("." + entry) for name in names)
    if rule.lower() == "all-linear":
        heads = _head_modules(model)
        return lambda _, names: not any(names[0] == head or names[0].startswith(head + ".") for head in heads)
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ValueError(
            f"{argument}={rule!r} is not a regular expression ({error}); for names, give a list"
        ) from None
    return lambda _, names: any(pattern.fullmatch(name) is not None for name in names)


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


def _nothing(model: nn.Module, layers: Iterable[str], asked: str, entries: Sequence[str]) -> str:
    linear = list(layers)
    # Users write the last components ("query"), so those are compared as well as whole names.
    endings = {".".join(name.split(".")[-size:]) for size in (3, 2, 1) for name in linear}
    known = [*sorted(endings), *linear]
    near = [match for entry in entries for match in difflib.get_close_matches(entry, known, n=3, cutoff=0.5)]
    have = (
        f"near names: {', '.join(dict.fromkeys(near))}"
        if near
        else f"it has {', '.join(linear[:6]) or 'none'}"
    )
    return f"no linear layer of {type(model).__name__} matches {asked}; {have}"
