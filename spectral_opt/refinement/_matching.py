"""Which weight of a fine-tuned checkpoint belongs to which weight of its base, and what has no counterpart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from paramgraph.checkpoints import WeightMapping
from paramgraph.nodes import HEAD_NAMES

# Parts of a name under which models keep what is made anew for a task; `HEAD_NAMES` are single layers.
FRESH = frozenset((*HEAD_NAMES, "cls", "pooler", "pre_classifier", "lm_head", "predictions"))


@dataclass(frozen=True)
class CheckpointMatch:
    """Names of a tuned checkpoint beside those of its base."""

    # From a parameter of the base, as tables call it, to all names of that weight in the tuned checkpoint.
    names: Mapping[str, tuple[str, ...]]
    # Parameters of the base that no filter can act on: the tuned checkpoint lacks them, or they are fresh.
    unmatched: frozenset[str]
    remarks: tuple[str, ...]  # what is left as it was tuned, and why


def match_checkpoints(
    model: nn.Module,
    tuned: WeightMapping,
    targeted: Iterable[str],
    buffers: Iterable[str] = (),
    fresh: Iterable[str] = (),
) -> CheckpointMatch:
    """Match a tuned checkpoint with its base, and refuse two states of different models.

    Heads and poolers may be on one side only, or differ in shape: they are made anew for a task, have no base, and
    stay as they were tuned; so do `fresh` parameters of the base, whose values were drawn when it was loaded. The
    weights of `targeted` names are read once, for their shapes. ValueError if anything else is missing, is too much,
    or has another shape.
    """
    named = _aliases(model)
    drawn, wanted = set(fresh), set(targeted)
    known = {name for name, _ in model.named_buffers()} | set(buffers)
    names: dict[str, tuple[str, ...]] = {}
    missing, shapes, unmatched = [], [], set(drawn)
    for first, aliases in named.items():
        found = list(dict.fromkeys(hit for alias in aliases if (hit := tuned.find(alias)) is not None))
        every = [name for hit in found for name in tuned.names_of(hit)]
        if not found:
            unmatched.add(first)
            missing += [] if _is_fresh(first) else [first]
            continue
        names[first] = tuple(dict.fromkeys(every))
        if first in wanted:
            before, after = tuple(model.get_parameter(first).shape), tuple(tuned[found[0]].shape)
            if before != after:
                unmatched.add(first)
                shapes += [] if _is_fresh(first) else [f"{first} {before} against {after}"]
    claimed = {name for every in names.values() for name in every}
    alone = [name for name in tuned if name not in claimed and not _is_buffer(name, known)]
    _refuse(missing, [name for name in alone if not _is_fresh(name)], shapes)
    return CheckpointMatch(names, frozenset(unmatched), _remarks(alone, unmatched & wanted, drawn))


def _aliases(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """All names of each parameter, under the name that the tables use."""
    groups: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return {names[0]: tuple(names) for names in groups.values()}


def _is_fresh(name: str) -> bool:
    # The first parts: "bert.pooler.dense.weight" is a pooler, "layer.0.attention.heads.weight" is no head.
    return bool(FRESH & set(name.split(".")[:3]))


def _is_buffer(name: str, known: set[str]) -> bool:
    return any(name == each or name.endswith(f".{each}") or each.endswith(f".{name}") for each in known)


def _refuse(missing: list[str], extra: list[str], shapes: list[str]) -> None:
    parts = [
        f"tuned lacks {missing[:3]}" if missing else "",
        f"base lacks {extra[:3]}" if extra else "",
        f"shapes differ: {', '.join(shapes[:3])}" if shapes else "",
    ]
    if any(parts):
        raise ValueError(
            f"base and tuned are not two states of one model: {'; '.join(filter(None, parts))}; "
            "give the model from which the fine-tuning started"
        )


def _remarks(alone: list[str], unmatched: set[str], drawn: set[str]) -> tuple[str, ...]:
    found = []
    if alone:
        found.append(f"left as tuned, without a counterpart in the base: {', '.join(alone)}")
    fresh, others = sorted(unmatched & drawn), sorted(unmatched - drawn)
    if fresh:
        found.append(f"left as tuned, drawn at random in the base: {', '.join(fresh)}")
    if others:
        found.append(f"not filtered, in the base alone or of another shape: {', '.join(others)}")
    return tuple(found)
