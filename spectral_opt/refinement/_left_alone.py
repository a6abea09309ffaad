"""What a refinement filters, what it leaves alone, and how it says so."""

from collections.abc import Mapping
from typing import Literal

from paramgraph.checkpoints import told
from spectral_opt.preparation import PreparedTable, told_reasons
from spectral_opt.refinement._filters import RefinementFilters
from spectral_opt.refinement._matching import CheckpointMatch

# What becomes of weights that have a counterpart in the base and that no filter acts on.
Rest = Literal["tuned", "scaled", "base"]
# So many are named one by one.
FEW = 4
UNCHANGED = (
    "base and tuned are equal in all that is filtered: nothing was refined, the result is a copy of tuned"
)


class Failures:
    """Why tables are left alone that a config targets: when graphs were built, or when a delta was filtered.

    Of tables of which tuned has a counterpart alone: what else the base has is told by the match.
    """

    def __init__(self, filters: RefinementFilters, match: CheckpointMatch) -> None:
        self._filters = filters
        self._found: dict[tuple[int, str], str] = {}
        for place, (tables, left) in enumerate(zip(filters.tables, filters.left, strict=True)):
            for ready in (*left.values(), *tables.values()):
                parts = {name: match.found.partners(name) for name in ready.table.parameters}
                lost = [name for name, partners in parts.items() if not partners]
                if not any(parts.values()):
                    continue
                if ready.operator is None:
                    self.add(place, ready, ready.reason)
                elif lost:
                    self.add(place, ready, f"tuned has no counterpart of {told(lost)}")

    def add(self, place: int, ready: PreparedTable, reason: str) -> None:
        """Note why the table of the config in a place has no filter."""
        group = ready.table.group
        if len(self._filters.configs) > 1:
            reason = f"on {ready.table.scheme}: {reason}"
        self._found[place, group] = reason.replace(f"table {group!r}: ", "")

    @property
    def reasons(self) -> dict[str, str]:
        """The reason for each table, by its group; those of several configs in one."""
        found: dict[str, list[str]] = {}
        for (_, group), reason in self._found.items():
            found.setdefault(group, []).append(reason)
        return {group: "; ".join(reasons) for group, reasons in found.items()}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to say, in one line."""
        return told_skipped(self.reasons)


def told_skipped(reasons: Mapping[str, str]) -> tuple[str, ...]:
    """Say which tables no filter acts on though they are targeted; nothing where there are none."""
    return (f"not filtered: {told_reasons(reasons)}",) if reasons else ()


def filtered_groups(filters: RefinementFilters, match: CheckpointMatch) -> Mapping[str, tuple[str, ...]]:
    """For each filtered parameter that has a match, list all that share tables with it, over all configs."""
    groups: dict[str, set[str]] = {}
    for tables in filters.tables:
        for ready in tables.values():
            if not match.names.keys() >= set(ready.table.parameters):
                continue  # something of it has no delta
            joined = set(ready.table.parameters).union(
                *(groups.get(name, ()) for name in ready.table.parameters)
            )
            groups |= dict.fromkeys(joined, joined)
    return {name: tuple(sorted(group)) for name, group in groups.items()}


def resting(match: CheckpointMatch, groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Name the weights of tuned that have a counterpart in the base and that no filter acts on."""
    filtered = {tuned for name in groups for tuned in match.names[name]}
    return tuple(sorted(name for name in match.origins if name not in filtered))


def told_rest(dimensions: Mapping[str, int], rest: Rest, factor: float) -> tuple[str, ...]:
    """Say what becomes of the weights that no filter acts on, by their names; nothing where there are none."""
    done = {
        "tuned": "left as tuned, as no filter acts on it",
        "scaled": f"change scaled by {factor:.4g}, as the norm of the filtered ones was",
        "base": "given back to the base, as no filter acts on it",
    }[rest]
    # By their modules they would read as if the layers that are filtered were left out.
    vectors = [name for name, number in dimensions.items() if number < 2]
    if len(vectors) <= FEW:
        return (f"{done}: {told(list(dimensions))}",) if dimensions else ()
    others = told([name for name in dimensions if name not in vectors])
    vector_count = f"{len(vectors)} vectors, such as biases and norms"
    return (f"{done}: {vector_count}; {others}" if others else f"{done}: {vector_count}",)
