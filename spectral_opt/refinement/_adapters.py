"""A LoRA adapter, refined: it stays an adapter of the same rank, or is merged for a reason that is told."""

import math

from paramgraph.checkpoints import AdaptedWeights
from spectral_opt.preparation import told_reasons
from spectral_opt.refinement._factors import refine_factors, scale_tensors
from spectral_opt.refinement._filters import RefinementFilters, ResponseFilters
from spectral_opt.refinement._left_alone import (
    UNCHANGED,
    Failures,
    Rest,
    filtered_groups,
    resting,
    told_rest,
)
from spectral_opt.refinement._matching import CheckpointMatch
from spectral_opt.refinement._result import RefinedState

MERGED = "the adapter was merged: "


def merge_reasons(
    adapter: AdaptedWeights, match: CheckpointMatch, filters: RefinementFilters, rest: Rest
) -> tuple[str, ...]:
    """Say why the result cannot be an adapter; nothing where it can."""
    reason = _merge_reason(adapter, match, filters, rest)
    return (MERGED + reason,) if reason else ()


def scale_merge_reasons(adapter: AdaptedWeights, match: CheckpointMatch) -> tuple[str, ...]:
    """Say why an adapter whose whole update is scaled cannot stay one; nothing where it can."""
    whole = sorted(filter(adapter.is_whole, match.origins))
    return tuple(f"{MERGED}{name!r} was trained as a whole" for name in whole[:1])


def factor_ranks(
    adapter: AdaptedWeights, match: CheckpointMatch, filters: RefinementFilters
) -> dict[str, int]:
    """Give the ranks of the filtered updates, by the names of the base."""
    pairs = {name: adapter.factor_names(name) for name in filtered_groups(filters, match)}
    return {name: adapter.stored.shape(pair[0])[0] for name, pair in pairs.items() if pair is not None}


def refine_adapter(
    adapter: AdaptedWeights, match: CheckpointMatch, filters: ResponseFilters, rest: Rest
) -> RefinedState:
    """Filter the factors of an adapter that stays one; a ValueError where every filter fails."""
    owner = filters.owner
    failures = Failures(owner, match)
    found = refine_factors(adapter, filtered_groups(owner, match), filters, failures)
    if found.rested and not found.filtered:
        raise ValueError(f"nothing can be filtered: {told_reasons(failures.reasons)}")
    kept = math.sqrt(found.after / found.before) if found.before else 1.0
    left = (*_resting_updates(adapter, match, owner), *found.rested)
    factor = {"tuned": 1.0, "scaled": kept, "base": 0.0}[rest]
    second = [pair[1] for name in left if (pair := adapter.factor_names(name)) is not None]
    tensors = scale_tensors(found.tensors, second, factor)
    dimensions = {name: len(match.found.base.shape(name)) for name in left}
    remarks = (*owner.remarks, *match.remarks, *failures.remarks, *told_rest(dimensions, rest, factor))
    if any(config.scheme == "entries" for config in owner.configs):
        remarks += (
            f"the rank of the adapter was kept, leaving {found.lost:.2%} of the norm of the filtered updates out",
        )
    remarks += () if found.before else (UNCHANGED,)
    return RefinedState(tensors, "adapter", remarks, kept, adapter.config, failures.reasons)


def scale_adapter(adapter: AdaptedWeights, match: CheckpointMatch, factor: float) -> RefinedState:
    """Multiply the whole update by a factor: the second factor of each product."""
    second = [name for name in adapter.stored if ".lora_B" in name or ".lora_embedding_B" in name]
    tensors = scale_tensors(adapter.stored, second, factor)
    return RefinedState(tensors, "adapter", match.remarks, factor, adapter.config)


def _merge_reason(
    adapter: AdaptedWeights, match: CheckpointMatch, filters: RefinementFilters, rest: Rest
) -> str:
    mixing = sorted({config.scheme for config in filters.configs} - {"rows", "columns", "entries"})
    if mixing:
        return f"a filter on {', '.join(mixing)} mixes its factors"
    for name in sorted(match.names):
        if adapter.is_whole(name):
            return f"{name!r} is filtered and was trained as a whole"
    for name in sorted(match.names):
        if adapter.changes(name) and not adapter.factor_names(name):
            return f"{name!r} is filtered, and its factors are those of all experts in one"
    for name in _resting_updates(adapter, match, filters) if rest != "tuned" else ():
        if adapter.factor_names(name) is None:
            return f"{name!r} has no factors alone, and rest={rest!r}"
    return ""


def _resting_updates(
    adapter: AdaptedWeights, match: CheckpointMatch, filters: RefinementFilters
) -> tuple[str, ...]:
    """Name, as the base does, what an adapter changes and no filter acts on."""
    names = (match.origins[name] for name in resting(match, filtered_groups(filters, match)))
    return tuple(name for name in dict.fromkeys(names) if adapter.changes(name))
