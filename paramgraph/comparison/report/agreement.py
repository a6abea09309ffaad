"""How far constructions agree, as a figure: constructions by constructions."""

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from paramgraph.comparison.report._panels import NARROW, SMALL, label_cells, panel_grid, short_name
from paramgraph.comparison.report._values import Plain, construction_names, is_number, median_cells
from paramgraph.display import GRID, INK, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def agreement_figure(result: Plain) -> "Figure":
    """Draw how far constructions agree, medians over layers and seeds, as a matrix of constructions.

    Above the diagonal stands the Jaccard index of edges, below it the alignment of the lowest modes over what random
    subspaces give.

    >>> pair = {"first": "ring", "second": "knn", "jaccard": 0.5, "alignment": 0.6, "expected_alignment": 0.2}
    >>> figure = agreement_figure({"agreements": [pair], "constructions": [{"name": "ring"}, {"name": "knn"}]})
    >>> sorted(text.get_text() for text in figure.axes[0].texts)
    ['.50', '3.0']
    """
    pairs = agreement_pairs(result)
    present = {name for pair in pairs for name in pair[:2]}
    names = [name for name in construction_names(result) if name in present]
    if not names:
        return panel_grid(0, wide=False, height=1.5)[0]
    figure = new_figure(NARROW, 0.7 + 0.27 * max(len(names), 3))
    axes = figure.axes[0]
    at = {name: place for place, name in enumerate(names)}
    jaccard, ratio = (np.full((len(names), len(names)), math.nan) for _ in range(2))
    for first, second, one, _, other, expected in pairs:
        upper, lower = sorted((at[first], at[second]))
        jaccard[upper, lower] = one
        ratio[lower, upper] = other / expected if expected else math.nan
    _draw_triangle(axes, jaccard, jaccard, PALETTE[0], "{:.2f}")
    # Twice is as much more than chance as half is less: colour follows the logarithm.
    top = math.log(max(2.0, np.nanmax(ratio, initial=2.0)))
    _draw_triangle(axes, ratio, np.log(np.maximum(ratio, 1.0)) / top, PALETTE[2], "{:.1f}")
    for place in range(len(names)):
        axes.plot([place + 0.3, place + 0.7], [place + 0.3, place + 0.7], color=GRID, linewidth=1.2)
    numbered = [f"{short_name(name)}  {place}" for place, name in enumerate(names, 1)]
    label_cells(axes, numbered, [])
    axes.set_yticks(np.arange(len(names)) + 0.5, numbered)
    axes.set_xticks(np.arange(len(names)) + 0.5, [str(place) for place in range(1, len(names) + 1)])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0))
    axes.set_xlabel("above the diagonal: edges (Jaccard)\nbelow: alignment over chance", fontsize=SMALL)
    return figure


def _draw_triangle(
    axes: "Axes", values: Float[np.ndarray, "n n"], shade: Float[np.ndarray, "n n"], colour: str, text: str
) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    for row, column in np.argwhere(np.isfinite(values)):
        alpha = 0.05 + 0.65 * float(np.clip(shade[row, column], 0, 1))
        axes.add_patch(
            Rectangle((column, row), 1, 1, facecolor=to_rgba(colour, alpha), edgecolor=GRID, linewidth=0.3)
        )
        written = text.format(values[row, column])
        if values[row, column] < 1:
            written = written.removeprefix("0")
        axes.text(
            column + 0.5, row + 0.52, written, ha="center", va="center", fontsize=SMALL - 0.5, color=INK
        )


def agreement_pairs(result: Plain) -> list[tuple[str, str, float, float, float, float]]:
    """Take medians of the agreement of each two constructions, NaN where nothing was measured.

    Each is first, second, Jaccard index, that of chance, alignment, that of chance.
    """
    fields = ("jaccard", "expected_jaccard", "alignment", "expected_alignment")
    rows = median_cells(result.get("agreements") or (), ("first", "second"))
    return [
        (row["first"], row["second"], *(float(row[f]) if is_number(row.get(f)) else math.nan for f in fields))
        for row in rows
    ]
