"""Names told by reason: six thousand experts that no token reached are one line, not six thousand."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

# How many names stand for all that share a reason.
NAMED = 3
EXPERT = re.compile(r"\[\d+\]$")


def by_reason(rows: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Group names, given as (name, reason), by their reasons without the name itself, each in the order they came.

    >>> by_reason([("a", "the layer of 'a' was never called"), ("b", "too small"), ("c", "too small")])
    [('the layer was never called', ['a']), ('too small', ['b', 'c'])]
    """
    found: dict[str, list[str]] = {}
    for name, reason in rows:
        found.setdefault(_common(name, reason), []).append(name)
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


def _common(name: str, reason: str) -> str:
    """Take the very name that a reason is for out of it, or that of its stack, as it is then that of others too."""
    for said in (name, EXPERT.sub("", name)):
        reason = reason.replace(f" of {said!r}", "").replace(f" {said!r}", "")
    return reason
