"""One small card of HTML, as notebooks show a value: a title, rows of facts, a bar or dot picture.

A card takes its text colour from the page around it and draws everything else in colours that read on light
and dark, so it follows every notebook's theme without a style sheet. It asks for nothing from outside, and all
text is escaped: names come from a user's model.
"""

import html
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from paramgraph.display.palette import PALETTE
from paramgraph.display.printable_text import printable

LINE = "rgba(128,128,128,.4)"
CARD = f"display:inline-block;max-width:46rem;border:1px solid {LINE};border-radius:6px;padding:.5em .8em"
# Notebooks align tables to the right, stripe them and forbid line breaks.
CELL = "text-align:left;vertical-align:top;white-space:normal;border:0;background:none;padding:.1em 0"
WIDTH, HEIGHT = 160, 36


def html_card(title: str, subtitle: str, facts: Iterable[tuple[str, str]], picture: str = "") -> str:
    """Render a card as a `<div>`: a title, facts by name, and a picture of `bar_picture` or `dot_picture` as it is.

    >>> "a &lt; b" in html_card("Graph", "", [("note", "a < b")])
    True
    """
    rows = "".join(
        f'<tr style="background:none"><th scope="row" style="{CELL};padding-right:1em;font-weight:normal;'
        f'opacity:.7">{escape(name)}</th><td style="{CELL};overflow-wrap:anywhere">{escape(value)}</td></tr>'
        for name, value in facts
    )
    head = f"<strong>{escape(title)}</strong> <span style='opacity:.7'>{escape(subtitle)}</span>"
    table = f'<table style="border-collapse:collapse;margin:.3em 0 0;border:0">{rows}</table>' if rows else ""
    return f'<div style="{CARD}"><div>{head}</div>{table}{picture}</div>'


def escape(text: object, longest: int = 400) -> str:
    """Escape text for HTML; what is longer than a card can show ends in an ellipsis."""
    plain = printable(str(text))
    return html.escape(plain if len(plain) <= longest else plain[: longest - 1] + "…")


def short_list(items: Sequence[object], shown: int = 4) -> str:
    """Join the first items, and say how many more there are; not escaped.

    >>> short_list(["a", "b", "c"], 2)
    'a, b, and 1 more'
    """
    named = ", ".join(str(item) for item in items[:shown])
    return named if len(items) <= shown else f"{named}, and {len(items) - shown:,} more"


def bar_picture(heights: Float[np.ndarray, " bars"], label: str) -> str:
    """Draw bars that are not negative, the highest as high as the picture; `label` is the caption and is read aloud."""
    step = WIDTH / max(len(heights), 1)
    scale = HEIGHT / max(heights.max(initial=0.0), 1e-300)
    marks = "".join(
        f'<rect x="{at * step:.1f}" y="{HEIGHT - height * scale:.1f}" width="{max(step - 1, 0.5):.1f}" '
        f'height="{height * scale:.1f}"/>'
        for at, height in enumerate(heights)
        if height > 0
    )
    return _figure(marks, label)


def dot_picture(values: Float[np.ndarray, " points"], label: str) -> str:
    """Draw finite values against their index as dots, the lowest and the highest at the edges; of many, 100 of them."""
    drawn = values[np.unique(np.linspace(0, len(values) - 1, min(len(values), 100)).astype(int))]
    span = float(np.ptp(drawn)) if len(drawn) else 0.0
    # Values that are equal but for rounding are drawn level.
    share = (drawn - drawn.min()) / span if span > 1e-9 * np.abs(drawn).max(initial=0) else 0 * drawn
    places = np.linspace(2, WIDTH - 2, len(drawn)) if len(drawn) > 1 else np.array([WIDTH / 2])
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{HEIGHT - 2 - y * (HEIGHT - 4):.1f}" r="1.6"/>'
        for x, y in zip(places, share, strict=False)
    )
    return _figure(marks, label)


def _figure(marks: str, label: str) -> str:
    text = escape(label)
    return (
        f'<figure style="margin:.5em 0 0"><svg role="img" aria-label="{text}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" fill="{PALETTE[0]}">{marks}<path d="M0 {HEIGHT}H{WIDTH}" '
        f'stroke="{LINE}"/></svg><figcaption style="font-size:.85em;opacity:.7">{text}</figcaption></figure>'
    )
