"""Curves over the graph frequency: eigenvalues, energy, signal-to-noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paramgraph.display.palette import PALETTE
from paramgraph.display.svg import GRID, INK, new_figure, themed_svg


@dataclass(frozen=True)
class Curve:
    """One line of a figure, with a name in the legend.

    `low` and `high` are ends of intervals, drawn as bars; `colour` is an index into the palette; `style` is
    matplotlib's, "none" for points alone.
    """

    name: str
    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"] | None = None
    high: Float[np.ndarray, " points"] | None = None
    colour: int = 0
    style: str = "-"


def draw_curves(
    curves: Sequence[Curve],
    name: str,
    *,
    x_label: str,
    y_label: str,
    ticks: Sequence[tuple[float, str]] = (),
    reference: float | None = None,
) -> str:
    """Draw curves with a legend below them, in their order, as an `<svg>` whose identifiers start with `name`.

    `ticks` are places and names on the x axis, where numbers do not say enough; `reference` is the height of a
    horizontal line to compare with.
    """
    figure = new_figure(4.6, 2.9 + 0.18 * len(curves))
    axes = figure.axes[0]
    if reference is not None:
        axes.axhline(reference, color=GRID, linewidth=2)
    for curve in curves:
        colour = PALETTE[curve.colour % len(PALETTE)]
        marker = "o" if len(curve.x) <= 12 else None
        axes.plot(
            curve.x,
            curve.y,
            color=colour,
            linestyle=curve.style,
            marker=marker,
            markersize=4,
            label=curve.name,
        )
        if curve.low is not None and curve.high is not None:
            axes.vlines(curve.x, curve.low, curve.high, color=colour, alpha=0.5, linewidth=1.5)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if ticks:
        axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    figure.legend(loc="outside lower left", frameon=False, labelcolor=INK)
    return themed_svg(figure, name)
