"""Which layers of a model a table is made of: linear layers, chosen by PEFT's rule, each weight once."""

import contextlib
import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from torch import nn

from paramgraph.nodes.linear_modules import LeftOut, LinearLayer, Survey, survey
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

# None of these is in a module's name; a dot is, and stands for itself unless one of these is there as well. An expert's
# name ends with its index, as "down_proj[3]".
_REGULAR_EXPRESSION = re.compile(r"[*+?()\[\]{}|\\^$]")
_EXPERT = re.compile(r"\[\d+\]$")


def _is_expression(rule: str) -> bool:
    return _REGULAR_EXPRESSION.search(_EXPERT.sub("", rule)) is not None


def targets_of_words(words: Sequence[str]) -> str | list[str]:
    """Read a rule that was written as words: "all-linear" or a regular expression alone is one, all else are names."""
    if len(words) == 1 and (words[0].lower() == "all-linear" or _REGULAR_EXPRESSION.search(words[0])):
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
        first.setdefault(layer.group, layer)
    return list(first.values())


def matched_layers(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None, packed: bool = False
) -> dict[str, LinearLayer]:
    """Find the targeted layers under their bare names, all layers that share a weight included.

    Wrappers are taken off, and rules are those of `node_tables`. `packed` counts the weights that
    `nn.MultiheadAttention` keeps outside of layers; they match where the attention module does, or by the name of
    the parameter. What has no matrix that can be cut is left out; `coverage` has the reasons. A ValueError has the
    near names of a target or an exclude that matches nothing, a regular expression that is broken, or why all that an
    entry means has been left out; a TypeError, a rule that is no rule.
    """
    return chosen_layers(model, targets, exclude, packed).matched


class Chosen(NamedTuple):
    """What a rule chooses, by bare names: layers, and what it means and cannot have; and entries of all other weights.

    Output heads that are not chosen are not counted.
    """

    matched: dict[str, LinearLayer]
    left_out: dict[str, LeftOut]
    others: int


def chosen_layers(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None, packed: bool = False
) -> Chosen:
    """Apply a rule as `matched_layers` does."""
    model = unwrap(model)
    found = survey(model, packed)
    names = _all_names(found)
    in_heads = _in_heads(model)
    wanted = _chosen(model, names, targets, "targets", in_heads)
    # What only the scheme "heads" sees may be excluded from all: it is in the model, and left out indeed.
    excludable = _all_names(survey(model, packed=True)) if exclude else {}
    unwanted = _chosen(model, excludable, exclude, "exclude", in_heads) if exclude else set()
    chosen = wanted - unwanted
    matched = {name: weighted.layer for name, weighted in found.layers.items() if name in chosen}
    left_out = {name: left for name, left in found.left_out.items() if name in chosen}
    if not matched:
        rest = f", exclude={exclude!r}" if exclude else ""
        raise ValueError(
            _nothing(model, list(found.layers), f"targets={targets!r}{rest}", _entries(targets), left_out)
        )
    if not isinstance(targets, str):
        _check_usable(targets, names, matched.keys() | unwanted, left_out)
    taken = {layer.group for layer in matched.values()}
    rest_of = {
        weighted.layer.group: prod(weighted.layer.shape)
        for name, weighted in found.layers.items()
        if name not in chosen and not in_heads(name) and weighted.layer.group not in taken
    }
    others = sum(
        left.entries for name, left in found.left_out.items() if name not in chosen and not in_heads(name)
    )
    return Chosen(matched, left_out, others + sum(rest_of.values()))


def _check_usable(
    targets: Collection[str],
    names: Mapping[str, Sequence[str]],
    usable: Collection[str],
    left_out: Mapping[str, LeftOut],
) -> None:
    """Refuse an entry of a list that means only what cannot be had; of a longer list it would be lost unseen."""
    for entry in targets:
        meant = [name for name, several in names.items() if _ends(entry, several)]
        if not any(name in usable for name in meant):
            name = next(name for name in meant if name in left_out)
            raise ValueError(
                f"{entry!r} of targets={targets!r} cannot be cut into nodes: {name}: {left_out[name].reason}"
            )


def _all_names(found: Survey) -> dict[str, list[str]]:
    """List the names under which a rule may mean each layer, and each weight that is in none."""
    names: dict[str, list[str]] = {}
    for bare, weighted in found.layers.items():
        # Names are accepted as they were before PEFT came and as they are now.
        names[bare] = [bare, weighted.raw, weighted.raw.removesuffix(".base_layer")]
        if weighted.layer.experts:
            # PEFT's target_parameters names the stack, target_modules the module that holds it.
            layer = weighted.layer
            names[bare] += [bare.rpartition("[")[0], layer.module, layer.parameter, layer.group]
    return names | {bare: list(left.names) for bare, left in found.left_out.items()}


def _chosen(
    model: nn.Module,
    names: Mapping[str, list[str]],
    rule: Targets,
    argument: str,
    in_heads: Callable[[str], bool],
) -> set[str]:
    """Name the layers that a rule means; an entry that means none is a slip of the pen, and would pass unseen."""
    entries = _entries(rule, argument)
    accepts = _acceptance(rule, argument, in_heads)
    hits = {entry: {bare for bare, several in names.items() if accepts(entry, several)} for entry in entries}
    if missed := [entry for entry, found in hits.items() if not found]:
        which = ", ".join(map(repr, missed)) + " of " if len(missed) < len(hits) else ""
        told = _nothing(model, list(names), f"{which}{argument}={rule!r}", missed, {})
        expressions = [entry for entry in missed if _is_expression(entry)]
        if expressions and not isinstance(rule, str):
            told += (
                "; a list has names, and one string is a regular expression: give "
                f"{argument}={'|'.join(expressions if len(expressions) == len(entries) else entries)!r}"
            )
        raise ValueError(told)
    return set().union(*hits.values())


def _entries(rule: Targets, argument: str = "targets") -> list[str]:
    if isinstance(rule, str):
        return [rule]
    if not isinstance(rule, Collection) or not all(isinstance(entry, str) for entry in rule):
        raise TypeError(
            f"{argument} must be 'all-linear', a list of module names or one regular expression; got {rule!r}"
        )
    return list(rule)


def _ends(entry: str, names: Sequence[str]) -> bool:
    return any(name == entry or name.endswith("." + entry) for name in names)


def _acceptance(
    rule: Targets, argument: str, in_heads: Callable[[str], bool]
) -> Callable[[str, Sequence[str]], bool]:
    """Decide how an entry of a rule is compared with the names of a layer."""
    if not isinstance(rule, str):
        return _ends
    if rule.lower() == "all-linear":
        return lambda _, names: not in_heads(names[0])
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ValueError(
            f"{argument}={rule!r} is not a regular expression ({error}); for names, give a list"
        ) from None
    # "fc[12]" is fc1 and fc2, "down_proj[12]" an expert: nothing is both.
    is_expert = _EXPERT.search(rule) is not None
    return lambda entry, names: (
        any(pattern.fullmatch(name) is not None for name in names) or (is_expert and _ends(entry, names))
    )


def _in_heads(model: nn.Module) -> Callable[[str], bool]:
    heads = _head_modules(model)
    return lambda name: any(name == head or name.startswith(head + ".") for head in heads)


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


def _nothing(
    model: nn.Module,
    linear: Sequence[str],
    asked: str,
    entries: Sequence[str],
    left_out: Mapping[str, LeftOut],
) -> str:
    if left_out:
        reasons = "; ".join(f"{name}: {left.reason}" for name, left in list(left_out.items())[:3])
        more = f"; and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        return f"no linear layer of {type(model).__name__} is left of {asked}; {reasons}{more}"
    linear = [*dict.fromkeys(_EXPERT.sub("", name) for name in linear), *linear]  # stacks before experts
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
