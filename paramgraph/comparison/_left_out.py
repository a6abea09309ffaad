"""What a comparison has no numbers of: parts of the model, and whole layers, each with its reason."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from math import prod
from typing import Any

from paramgraph.comparison._constructions import Construction, refusal_of_nodes
from paramgraph.nodes import Coverage, NodeTable


def left_out(
    covered: Coverage,
    tables: Mapping[str, NodeTable],
    constructions: Sequence[Construction],
    measured: Collection[str],
    failures: Iterable[Mapping[str, Any]],
    zero: Collection[str],
    signal: str,
) -> list[dict[str, str]]:
    """List what is in no cell as `name` and `reason`: no nodes, no graph, nothing read, or a signal of zeros."""
    found = dict(covered.left_out)
    raised: dict[str, list[str]] = {}
    for failure in failures:
        raised.setdefault(failure["layer"], []).append(failure["error"])
    for group, table in tables.items():
        if group in measured:
            continue
        if group in zero:
            reasons = [zero_reason(signal)]
        else:
            refused = [refusal_of_nodes(one, table) for one in constructions]
            reasons = raised.get(group, []) + [reason for reason in refused if reason]
        found[group] = "; ".join(dict.fromkeys(reasons))
    return [{"name": name, "reason": reason} for name, reason in found.items()]


def coverage_of(found: Coverage, tables: Mapping[str, NodeTable]) -> Coverage:
    """Count what tables hold of the layers that were found: of heads, and of `layers` that were chosen, not all."""
    held = min(sum(prod(table.shape) for table in tables.values()), found.covered)
    return replace(found, covered=held, excluded=found.excluded + found.covered - held)


def told_coverage(covered: Coverage) -> dict[str, Any]:
    """Write a coverage as a comparison keeps it: its numbers, its sentence and its warning."""
    return {
        "share": covered.share,
        "told": str(covered),
        "warning": covered.warning,
        **asdict(covered),
    }


def joined_coverage(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what shards of one model cover; what none of them can cut is missing in all."""
    missing = [part["weights"] - part["covered"] - part["excluded"] for part in parts]
    held = sum(part["covered"] for part in parts)
    weights = max(part["weights"] for part in parts)
    return told_coverage(
        Coverage(
            covered=held,
            weights=weights,
            excluded=max(0, weights - held - max(missing)),
            left_out={name: reason for part in parts for name, reason in part["left_out"].items()},
            explicit=any(part["explicit"] for part in parts),
        )
    )


def zero_reason(signal: str) -> str:
    """Say why a layer on which every graph would be measured with nothing is left out."""
    return f"the {signal} are zero there"
