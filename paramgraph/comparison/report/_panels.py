"""Small multiples of a comparison: one panel for each construction, on a common scale."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paramgraph.display import INK, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: on a phone of 360 pixels a figure of 4.1 inches is drawn a tenth larger than its points, so that 8 of them are
# read; on a page of 1,600 one of 11 inches is drawn nearly twice as large.
NARROW, WIDE = 4.1, 11.0
SMALL = 8.0


def panel_grid(
    count: int, *, wide: bool, height: float, across: tuple[int, int] = (2, 5)
) -> tuple["Figure", list["Axes"]]:
    """Make a figure of `count` panels, each row `height` inches high, and return it with the axes that are in use.

    Of 0 there is one empty panel, which says that nothing was measured. `across`: how many panels stand side by side
    at most, narrow and wide.

    >>> figure, axes = panel_grid(3, wide=False, height=1.5)
    >>> len(figure.axes), len(axes)
    (4, 3)
    """
    columns = min(max(count, 1), across[wide])
    # Rows of 5 and 1 look like a mistake; rows of 3 and 3 do not.
    columns = math.ceil(max(count, 1) / math.ceil(max(count, 1) / columns))
    rows = math.ceil(max(count, 1) / columns)
    figure = new_figure(WIDE if wide else NARROW, height * rows + 0.45, columns, rows)
    for axes in figure.axes:
        axes.tick_params(labelsize=SMALL, length=2.5)
    for axes in figure.axes[max(count, 0) :]:
        axes.axis("off")
    if not count:
        figure.axes[0].text(0.5, 0.5, "not measured here", color=INK, ha="center", va="center", fontsize=9)
    return figure, figure.axes[:count]


def columns_of(figure: "Figure") -> int:
    """Count how many panels stand side by side."""
    grid = figure.axes[0].get_gridspec()
    return grid.ncols if grid else 1


def panel_title(axes: "Axes", text: str, width: int = 25) -> None:
    """Write a panel's name above its left edge, folded after a space or a dot where it is long."""
    lines = [""]
    for part in re.findall(r"[^ .]+[ .]?|[ .]", text):
        if len(lines[-1]) + len(part.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += part
    title = axes.set_title("\n".join(line.rstrip() for line in lines), fontsize=SMALL, loc="left", color=INK)
    # A name with two dollar signs is a name, not a formula.
    title.set_parse_math(False)


def outer_labels(figure: "Figure", axes: Sequence["Axes"], x_label: str, y_label: str) -> None:
    """Write the labels once for all panels, and numbers only where panels meet the edge."""
    columns = columns_of(figure)
    for place, one in enumerate(axes):
        one.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(axes))
    if axes:
        figure.supxlabel(x_label, fontsize=SMALL + 0.5, color=INK)
        figure.supylabel(y_label, fontsize=SMALL + 0.5, color=INK)


def common_limits(axes: Sequence["Axes"], low: float | None = None) -> None:
    """Give panels the same y scale: that of the one that reaches furthest."""
    if axes:
        ends = [one.get_ylim() for one in axes]
        bottom, top = min(end[0] for end in ends), max(end[1] for end in ends)
        for one in axes:
            one.set_ylim(bottom if low is None else low, top)


def draw_bands(axes: "Axes", labels: Sequence[str]) -> None:
    """Name bands on the x axis: each, or every second one where the names would touch."""
    step = 1 if len(labels) <= 3 else 2
    axes.set_xticks(range(0, len(labels), step), list(labels[::step]))
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.grid(axis="x", visible=False)


def style_of(circular: Any) -> dict[str, Any]:
    """Choose the line of a construction: dashed and orange where it was built from what is measured."""
    return (
        {"color": PALETTE[1], "linestyle": (0, (4, 2))}
        if circular
        else {"color": PALETTE[0], "linestyle": "-"}
    )


def label_cells(axes: "Axes", names: Sequence[str], labels: Sequence[str]) -> None:
    """Write names beside the rows and labels below the columns of a matrix of cells, without axes."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL - 0.5, pad=2)
    axes.set_yticks(np.arange(len(names)) + 0.5, [short_name(name) for name in names])
    named = any(len(label) > 3 for label in labels)
    step = 1 if named or len(labels) <= 8 else 5 if len(labels) <= 40 else 10
    at = range(0, len(labels), step)
    axes.set_xticks(
        [place + 0.5 for place in at], [labels[place] for place in at], rotation=90 if named else 0
    )
    for text in (*axes.get_yticklabels(), *axes.get_xticklabels()):
        text.set_parse_math(False)


def short_name(name: str) -> str:
    """Cut a name that would take more than half of a narrow figure."""
    return name if len(name) <= 34 else f"{name[:33]}…"
