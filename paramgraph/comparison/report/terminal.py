"""The result of a comparison in the terminal: one row for each construction, its nulls beside it, and the verdict."""

from collections.abc import Mapping
from typing import Any

from paramgraph.comparison.report.values import BLANK, number_text, summary_rows
from paramgraph.display import TableView, print_views

# Header, field, style; a terminal has room for what decides, the page has the rest.
COLUMNS = (
    ("compaction", "compaction", ".3f"),
    ("permuted", "compaction_permuted", ".3f"),
    ("rotated", "compaction_rotated", ".3f"),
    ("random", "compaction_random", ".3f"),
    ("z", "z_score", ".1f"),
    ("p Holm", "p_holm", ".2g"),
    ("lift", "lift_low", ".2f"),
    ("95 %", "lift_low_interval", ".2f"),
    ("gain", "gain", ".2f"),
    ("stable", "edge_stability", ".2f"),
    ("edges", "edges", ",.0f"),
    ("s", "seconds", ",.1f"),
)
# In columns: the longest names of constructions on one line beside all measures.
PIPE = 150
WORDS = {
    "compaction": "compaction: share of energy in the lowest modes, then on three nulls",
    "lift": "lift: signal-to-noise of the lowest band over that of all",
    "gain": "gain: in effective batch size",
    "stable": "stable: Jaccard of graphs from two halves of the batches",
}


def print_comparison(result: Mapping[str, Any]) -> None:
    """Print summary and verdict, and how much was refused or failed.

    Parameters
    ----------
    result : mapping
        `Comparison.to_dict`.

    Raises
    ------
    ImportError
        If rich is missing.
    """
    print_views([summary_view(result)], width=PIPE)
    for failure in result.get("failures") or ():
        print(f"\nfailed: {failure['construction']} on {failure['layer']}: {failure['error']}")
    for what in _refusals(result):
        print(f"\n{what}")
    print(f"\n{result['verdict']}")


def summary_view(result: Mapping[str, Any]) -> TableView:
    """Make the terminal's table.

    Parameters
    ----------
    result : mapping
        `Comparison.to_dict`.

    Returns
    -------
    TableView
        Without columns in which nothing was measured; nulls, and graphs of the very signal, come last and paler.

    Examples
    --------
    >>> row = {"construction": "ring", "compaction": 0.2, "edges": 5.0, "null": True}
    >>> summary_view({"title": "Which?", "summary": [row]}).rows
    (('ring (null)', '0.200', '5'),)
    """
    rows = [_with_interval(row) for row in summary_rows(result)]
    texts = {header: [number_text(row.get(field), style) for row in rows] for header, field, style in COLUMNS}
    used = [header for header, column in texts.items() if any(text != BLANK for text in column)]
    names = [_name(row) for row in rows]
    return TableView(
        ("construction", *used),
        tuple((name, *(texts[header][place] for header in used)) for place, name in enumerate(names)),
        f"{result['title']}\n{'; '.join(text for name, text in WORDS.items() if name in used)}",
        frozenset(place for place, row in enumerate(rows) if _kind(row)),
    )


def _with_interval(row: Mapping[str, Any]) -> dict[str, Any]:
    interval = [row.get("lift_low_low"), row.get("lift_low_high")]
    return {**row, "lift_low_interval": None if None in interval else interval}


def _kind(row: Mapping[str, Any]) -> str:
    return "circular" if row.get("circular") else "null" if row.get("null") else ""


def _name(row: Mapping[str, Any]) -> str:
    kind = _kind(row)
    return f"{row['construction']} ({kind})" if kind else str(row["construction"])


def _refusals(result: Mapping[str, Any]) -> list[str]:
    """Say each reason once, with what it is for."""
    reasons: dict[str, list[str]] = {}
    for one in result.get("refused") or ():
        reasons.setdefault(one["reason"], []).append(f"{one['builder']} of {one['source']}")
    return [f"left out: {', '.join(dict.fromkeys(pairs))}: {reason}" for reason, pairs in reasons.items()]
