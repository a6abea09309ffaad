"""The heat map of a comparison: layers by constructions, a panel for each kind of matrix."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from paramgraph.comparison.report._panels import NARROW, SMALL, WIDE, columns_of, label_cells, panel_title
from paramgraph.comparison.report._values import (
    Plain,
    construction_names,
    is_number,
    layer_cells,
    layer_names,
)
from paramgraph.display import GRID, INK, PALETTE, check_figures, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "compaction": "share of energy in the lowest modes",
    "z_score": "standard deviations from the permuted null",
    "lift_low": "lift of the lowest band",
    "gain": "gain in effective batch size",
    "edge_stability": "edges shared by graphs of two halves (Jaccard)",
}
ABOVE, BELOW = PALETTE[0], PALETTE[1]
# A z-score below 2 in size is what chance gives often; beyond, what matters is the order of magnitude.
Z_STEPS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
# What each column is without any structure: uncoloured in the heat map.
NEUTRAL = {"lift_low": 1.0, "gain": 1.0}


def heatmap_figure(result: Plain, column: str = "compaction", *, wide: bool = False) -> "Figure":
    """Draw a column of all cells, layers by constructions; of several seeds, and of very many layers, the median.

    There is a panel for each role of a matrix in its block, its columns the depth; matrices whose role occurs once
    share a panel. A cell without a number has a small cross. Raises ValueError where no cell has a number in this
    column, with the columns that can be drawn.

    >>> cell = {"layer": "0.weight", "depth": 0, "role": "weight", "construction": "ring", "gain": 1.5}
    >>> figure = heatmap_figure({"setting": {}, "cells": [cell], "constructions": [{"name": "ring"}]}, "gain")
    >>> figure.axes[0].get_title(loc="left")
    'weight'
    """
    cells, _ = layer_cells(result)
    values = {
        (cell["construction"], cell["layer"]): float(cell[column])
        for cell in cells
        if is_number(cell.get(column))
    }
    if not values:
        possible = sorted({field for cell in cells for field, value in cell.items() if is_number(value)})
        raise ValueError(
            f"no cell has a number in {column!r}; those that can be drawn: {', '.join(possible)}"
        )
    present = {cell["construction"] for cell in cells}
    names = [name for name in construction_names(result) if name in present]
    panels = _panels({"cells": cells}, cells)
    scale = heatmap_scale(result, column, list(values.values()))
    figure = _heatmap_grid(panels, len(names), wide)
    columns = columns_of(figure)
    for place, (axes, (title, layers)) in enumerate(zip(figure.axes, panels, strict=False)):
        grid = np.array([[values.get((name, layer), math.nan) for layer, _ in layers] for name in names])
        _draw_cells(axes, grid, scale)
        label_cells(axes, names if place % columns == 0 else [], [label for _, label in layers])
        axes.set(xlim=(0, len(layers)), ylim=(len(names), 0))
        panel_title(axes, title, 40 if wide else 19)
    for axes in figure.axes[len(panels) :]:
        axes.axis("off")
    _draw_scale(figure, scale, column, wide)
    return figure


@dataclass(frozen=True)
class Scale:
    """Steps of colour: none about what chance gives, blue above it, orange below."""

    edges: list[float]
    neutral: float
    ticks: list[float]
    low: float = -math.inf
    high: float = math.inf

    def colours(self) -> list[tuple[float, float, float, float]]:
        """Give a colour for each step; the nearer to `neutral` the more of the page shows through."""
        from matplotlib.colors import to_rgba

        steps = list(pairwise(self.edges))
        above = [step for step in steps if step[0] >= self.neutral]
        below = [step for step in reversed(steps) if step[1] <= self.neutral]
        most = max(len(above), len(below))
        found = {step: to_rgba(ABOVE, 0.0) for step in steps}
        for colour, side in ((ABOVE, above), (BELOW, below)):
            for rank, step in enumerate(side):
                found[step] = to_rgba(colour, 0.14 + 0.86 * (rank + 0.5) / (most + 0.5))
        return list(found.values())

    def labels(self) -> list[str]:
        """Name the ticks, and at either end what lies beyond, which has the colour of the last step."""
        texts = [f"{tick:g}" for tick in self.ticks]
        if self.low < self.edges[0]:
            texts[0] = f"≤ {texts[0]}"
        if self.high > self.edges[-1]:
            texts[-1] = f"≥ {texts[-1]}"
        return texts


def heatmap_scale(result: Plain, column: str, values: Sequence[float]) -> Scale:
    """Choose the steps of colour for the finite values of a column.

    Of a z-score the steps are fixed. Where chance gives some other value, steps are equal, one is about that value,
    and they cover 95 % of the values: one layer without any signal may have a lift of -100. Otherwise they are round
    numbers, blue from the lowest on.

    >>> heatmap_scale({"setting": {"share": 0.2}, "cells": []}, "z_score", [7.0, -1.0]).edges
    [-2.0, 2.0, 5.0, 10.0]
    >>> heatmap_scale({"setting": {"share": 0.2}, "cells": []}, "compaction", [0.22, 0.6]).ticks
    [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6]
    """
    check_figures()
    from matplotlib.ticker import MaxNLocator

    low, high = min(values), max(values)
    if column.startswith("z_"):
        beyond = [sum(step < end for step in Z_STEPS[:-1]) for end in (-low, high)]
        edges = [-step for step in reversed(Z_STEPS[: beyond[0] + 1])] + list(Z_STEPS[: beyond[1] + 1])
        return Scale(edges, 0.0, edges, low, high)
    neutral = _neutral_value(result, column)
    if neutral is None:
        found = MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high if high > low else low + 1)
        edges = [float(edge) for edge in found]
        return Scale(edges, edges[0], edges)
    ends = np.quantile([*values, neutral], [0.025, 0.975])
    first, last = min(float(ends[0]), neutral), max(float(ends[1]), neutral)
    # At most twelve steps: more are not told apart.
    locator = MaxNLocator(12, steps=[1, 2, 2.5, 5, 10])
    step = float(np.diff(locator.tick_values(first, last if last > first else first + 1))[0])
    # The step about the neutral value has a round number in its middle, at most a quarter of a step away.
    middle = round(neutral / step * 2) / 2 * step
    ranks = range(-round((middle - first) / step), round((last - middle) / step) + 1)
    edges = [round(middle + (rank - 0.5) * step, 10) for rank in (*ranks, ranks[-1] + 1)]
    return Scale(edges, neutral, [round(middle + rank * step, 10) for rank in ranks], low, high)


def _neutral_value(result: Plain, column: str) -> float | None:
    if column != "compaction":
        return NEUTRAL.get(column)
    nulls = [cell.get("compaction_permuted") for cell in result["cells"]]
    there = [null for null in nulls if is_number(null)]
    return round(float(np.median(there)), 2) if there else result["setting"].get("share", 0.2)


def _draw_cells(axes: "Axes", grid: Float[np.ndarray, "rows columns"], scale: Scale) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    steps = np.clip(np.digitize(grid, scale.edges) - 1, 0, len(scale.edges) - 2)
    for step, colour in enumerate(scale.colours()):
        cells = np.argwhere((steps == step) & np.isfinite(grid))
        if len(cells):
            # One path for all cells of a colour: an SVG of a path for each cell is five times as large.
            corners = [
                Path([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1), (x, y)], closed=True) for y, x in cells
            ]
            patch = PathPatch(
                Path.make_compound_path(*corners),
                facecolor=colour,
                edgecolor=to_rgba(INK, 0.2),
                linewidth=0.3,
            )
            axes.add_patch(patch)
    missing = np.argwhere(np.isnan(grid))
    if len(missing):
        axes.scatter(
            missing[:, 1] + 0.5, missing[:, 0] + 0.5, marker="x", s=7, linewidth=0.6, color=INK, alpha=0.4
        )


def _draw_scale(figure: "Figure", scale: Scale, column: str, wide: bool) -> None:
    from matplotlib import cm, colors

    paint = colors.ListedColormap(scale.colours())
    painter = cm.ScalarMappable(colors.BoundaryNorm(scale.edges, paint.N), paint)
    place: dict[str, Any] = {"location": "bottom", "aspect": 60 if wide else 30}
    height = figure.get_figheight()
    bar = figure.colorbar(painter, ax=figure.axes, fraction=0.14 / height, pad=0.1 / height, **place)
    title = textwrap.fill(TITLES.get(column, column.replace("_", " ")), 80 if wide else 36)
    bar.set_label(title + _neutral_text(column, scale), fontsize=SMALL, color=INK)
    last = len(scale.ticks) - 1
    # Every second number where there is no room for all; both ends are always named.
    named = range(last + 1) if last < (16 if wide else 9) else [*range(0, last - 1, 2), last]
    labels = scale.labels()
    bar.set_ticks([scale.ticks[at] for at in named], labels=[labels[at] for at in named])
    bar.ax.tick_params(labelsize=SMALL, length=2, colors=INK)
    bar.ax.minorticks_off()
    bar.outline.set_edgecolor(GRID)


def _neutral_text(column: str, scale: Scale) -> str:
    if column == "compaction":
        return f"\nno colour: the permuted null, {scale.neutral:g}"
    if column.startswith("z_"):
        return "\nno colour: less than 2"
    return f"\nno colour: {scale.neutral:g}, chance" if column in NEUTRAL else ""


def _panels(result: Plain, cells: Sequence[Plain]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Group layers by role: a title, and for each layer its name and its label."""
    about = {cell["layer"]: cell for cell in cells}
    roles: dict[str, list[str]] = {}
    for layer in layer_names(result):
        roles.setdefault(str(about[layer].get("role") or "other"), []).append(layer)
    alone = [layer for layers in roles.values() if len(layers) == 1 for layer in layers]
    panels = [
        (role, [(layer, _depth_text(about[layer].get("depth"), place)) for place, layer in enumerate(layers)])
        for role, layers in roles.items()
        if len(layers) > 1
    ]
    if len(alone) == 1:
        panels.append((str(about[alone[0]].get("role") or alone[0]), [(alone[0], "")]))
    elif alone:
        panels.append(
            ("matrices of one kind each" if panels else "", [(layer, _short(layer)) for layer in alone])
        )
    return panels


def _depth_text(depth: Any, place: int) -> str:
    return f"{depth:g}" if is_number(depth) and depth >= 0 else str(place)


def _short(layer: str) -> str:
    return ".".join(layer.removesuffix(".weight").split(".")[-2:])


def _heatmap_grid(panels: Sequence[tuple[str, Any]], constructions: int, wide: bool) -> "Figure":
    named = any(len(label) > 3 for _, layers in panels for _, label in layers)
    # Names below cells need room for all of them; numbers do not.
    most = 4 if wide else 2
    across = min(len(panels), most) if not named else min(len(panels), 2 if wide else 1)
    across = math.ceil(len(panels) / math.ceil(len(panels) / across))
    rows = math.ceil(len(panels) / across)
    height = rows * (0.17 * constructions + 0.45 + 0.9 * named) + 0.8
    figure = new_figure(WIDE if wide else NARROW, height, across, rows)
    # A title belongs to the panel below it: more room above it than under it.
    figure.set_layout_engine("constrained", h_pad=0.08)
    return figure
