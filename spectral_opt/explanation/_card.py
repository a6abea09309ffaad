"""An explanation as a notebook shows it: one card, and the tables beneath it."""

from typing import Any

from paramgraph.display import CELL, escape, html_card, short_list

# A notebook stays readable; print() and to_dict() have all of them.
SHOWN = 100


def explanation_html(explanation: Any, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Render an explanation as HTML.

    Parameters
    ----------
    explanation : Explanation
        What is shown; its text is escaped.
    header : tuple of str
        Names of the columns.
    rows : list of tuple of str
        One per table.

    Returns
    -------
    str
        One `<div>` that follows the theme of the page.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> empty = SimpleNamespace(tables=(), skipped=(), notes=("a < b",), totals=lambda: ["0 tables"])
    >>> "a &lt; b" in explanation_html(empty, ("parameter",), [])
    True
    """
    reasons: dict[str, list[str]] = {}
    for name, reason in explanation.skipped:
        reasons.setdefault(reason, []).append(name)
    first, *others = explanation.totals()
    facts = [("in all", text) for text in others]
    facts += [("left alone", f"{reason}: {short_list(names)}") for reason, names in reasons.items()]
    facts += [("note", note) for note in explanation.notes]
    return html_card("Explanation", first, facts, _grid(header, rows) if rows else "")


def _grid(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    style = f"{CELL};padding-right:1em;overflow-wrap:anywhere"
    head = "".join(f'<th scope="col" style="{style};opacity:.7">{escape(name)}</th>' for name in header)
    body = "".join(
        '<tr style="background:none">'
        + "".join(f'<td style="{style}">{escape(cell)}</td>' for cell in row)
        + "</tr>"
        for row in rows[:SHOWN]
    )
    more = f"<div>and {len(rows) - SHOWN} more tables</div>" if len(rows) > SHOWN else ""
    table = f'<table style="border-collapse:collapse;margin:.3em 0 0;border:0"><tr>{head}</tr>{body}</table>'
    return f"<details open><summary>tables</summary>{table}{more}</details>"
