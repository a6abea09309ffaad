"""What was left out, told by reason: six thousand experts that no token reached are one line, not six thousand."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from paramgraph.comparison.report._values import Plain

# How many names stand for all that share a reason.
NAMED = 3
EXPERT = re.compile(r"\[\d+\]$")


def by_reason(rows: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Group names, given as (name, reason), by their reasons, each in the order they came.

    Where a reason names the very layer it is of, that is no other reason.

    >>> by_reason([("a", "'a' was never called"), ("b", "too small"), ("c", "'c' was never called")])
    [('this one was never called', ['a', 'c']), ('too small', ['b'])]
    """
    found: dict[str, list[str]] = {}
    for name, reason in rows:
        found.setdefault(_of_any(name, reason), []).append(name)
    return list(found.items())


def some_names(names: Sequence[str], most: int = NAMED) -> str:
    """Name the first and count the rest; experts of one stack are named once.

    >>> some_names(["a", "b", "c", "d"]), some_names([f"mlp.experts.down_proj[{at}]" for at in range(9)])
    ('a, b, c and 1 more', 'mlp.experts.down_proj (9 experts)')
    """
    stacks = Counter(EXPERT.sub("", name) for name in names)
    single = {EXPERT.sub("", name): name for name in names}
    shown = [
        single[stack] if count == 1 else f"{stack} ({count:,} experts)" for stack, count in stacks.items()
    ]
    rest = len(names) - sum(list(stacks.values())[:most])
    return ", ".join(shown[:most]) + (f" and {rest:,} more" if rest else "")


def partial_failures(result: Plain) -> list[Plain]:
    """List the failures on layers that were measured all the same; the others are left out as a whole."""
    whole = {one["name"] for one in result.get("left_out") or ()}
    return [one for one in result.get("failures") or () if one["layer"] not in whole]


def coverage_lines(result: Plain) -> list[str]:
    """Say how much of the model is in nodes, and warn where that is not nearly all."""
    covered = (result.get("setting") or {}).get("coverage") or {}
    told, warning = covered.get("told"), covered.get("warning")
    return [f"{told}."] * bool(told) + [f"Warning: {warning}."] * bool(warning)


def _of_any(name: str, reason: str) -> str:
    for said in (name, EXPERT.sub("", name)):
        reason = reason.replace(f"'{said}'", "this one")
    return reason
