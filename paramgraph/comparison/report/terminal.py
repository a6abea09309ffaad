"""The result of a comparison in the terminal: one row for each construction, its nulls beside it, and the verdict."""

from dataclasses import replace

from paramgraph.comparison.report._reasons import coverage_lines, partial_failures
from paramgraph.comparison.report._tables import Column, column_table
from paramgraph.comparison.report._values import Plain, summary_rows
from paramgraph.display import TableView, by_reason, print_lines, print_views, printable, some_names

# A terminal has room for what decides, the page has the rest.
COLUMNS = (
    Column("", "compaction", "compaction", ".3f"),
    Column("", "permuted", "compaction_permuted", ".3f"),
    Column("", "rotated", "compaction_rotated", ".3f"),
    Column("", "random", "compaction_random", ".3f"),
    Column("", "z", "z_score", ".1f"),
    Column("", "p Holm", "p_holm", ".2g"),
    Column("", "lift", "lift_low", ".2f"),
    Column("", "95 %", "lift_low_interval", ".2f"),
    Column("", "gain", "gain", ".2f"),
    Column("", "stable", "edge_stability", ".2f"),
    Column("", "edges", "edges", ",.0f"),
    Column("", "s", "seconds", ",.1f"),
)
# In columns: the longest names of constructions on one line beside all measures.
PIPE = 150
WORDS = {
    "compaction": "compaction: share of energy in the lowest modes, then on three nulls",
    "lift": "lift: signal-to-noise of the lowest band over that of all",
    "gain": "gain: in effective batch size",
    "stable": "stable: Jaccard of graphs from two halves of the batches",
}


def print_comparison(result: Plain) -> None:
    """Print summary and verdict of `Comparison.to_dict()`, what failed, was left out or refused; needs rich."""
    print_views([summary_view(result)], width=PIPE)
    for what in (*_failures(result), *_left_out(result), *_refusals(result), *coverage_lines(result)):
        print_lines("", what)
    print_lines("", result["verdict"])


def summary_view(result: Plain) -> TableView:
    """Make the terminal's table; nulls, and graphs of the very signal, come last and paler.

    >>> row = {"construction": "ring", "compaction": 0.2, "edges": 5.0, "null": True}
    >>> summary_view({"title": "Which?", "summary": [row]}).rows
    (('ring (null)', '0.200', '5'),)
    """
    view = column_table("construction", "name", COLUMNS, summary_rows(result), "")
    words = "; ".join(text for name, text in WORDS.items() if name in view.header)
    return replace(view, caption=f"{printable(result['title'])}\n{words}")


def _failures(result: Plain) -> list[str]:
    """Say each reason once; layers of which nothing was measured at all are told as left out."""
    rows = partial_failures(result)
    kinds = dict.fromkeys(row["construction"] for row in rows)
    return [
        f"failed: {kind} on {some_names(names)}: {reason}"
        for kind in kinds
        for reason, names in by_reason(
            (row["layer"], row["error"]) for row in rows if row["construction"] == kind
        )
    ]


def _left_out(result: Plain) -> list[str]:
    rows = [(one["name"], one["reason"]) for one in result.get("left_out") or ()]
    return [f"left out: {some_names(names)}: {reason}" for reason, names in by_reason(rows)]


def _refusals(result: Plain) -> list[str]:
    """Say each reason once, with what it is for."""
    reasons: dict[str, list[str]] = {}
    for one in result.get("refused") or ():
        reasons.setdefault(one["reason"], []).append(f"{one['builder']} of {one['source']}")
    return [f"left out: {', '.join(dict.fromkeys(pairs))}: {reason}" for reason, pairs in reasons.items()]
