"""Figures of a comparison over the graph frequency, and its drawn subgraph.

Each takes the comparison as plain data, as `Comparison.to_dict` gives it. What was not measured is left out; a figure
without anything to show says so. `wide` is for a wide window: more panels side by side.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from paramgraph.comparison.report._panels import (
    NARROW,
    common_limits,
    draw_bands,
    outer_labels,
    panel_grid,
    panel_title,
    style_of,
)
from paramgraph.comparison.report._values import (
    PARTIAL,
    Plain,
    band_names,
    construction_names,
    quartiles,
    stacked,
    summary_rows,
)
from paramgraph.display import MIDDLE_GREY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def energy_figure(result: Plain, *, wide: bool = False) -> "Figure":
    """Draw the share of the signal's energy in each band, a panel for each construction, the most compact first.

    The grey bars are the permuted null's mean and two standard deviations either way.

    >>> row = {"construction": "ring", "energy": [0.5, 0.5], "null_energy": [0.5, 0.5], "null_energy_sd": [0.1, 0.1]}
    >>> figure = energy_figure({"setting": {"bands": [0, 0.5, 1]}, "cells": [], "summary": [row]})
    >>> figure.axes[0].get_title(loc="left")
    'ring'
    """

    def behind(one: "Axes", row: Plain, places: np.ndarray) -> None:
        null, spread = stacked([row], "null_energy"), stacked([row], "null_energy_sd")
        if null.shape[1] == len(places):
            reach = 2 * spread[0] if spread.shape == null.shape else np.zeros(len(places))
            one.bar(places, 2 * reach, 0.8, null[0] - reach, color=MIDDLE_GREY, alpha=0.35, linewidth=0)
            one.hlines(null[0], places - 0.4, places + 0.4, color=MIDDLE_GREY, linewidth=1.5)

    return _band_figure(result, "energy", behind, "share of energy", 0.0, wide)


def snr_figure(result: Plain, *, wide: bool = False) -> "Figure":
    """Draw the signal-to-noise ratio in each band, on batches that built no graph, a panel for each construction.

    The line is pooled over layers, the bars reach from their lower to their upper quartile (of one layer: its 95 %
    interval), and all other constructions are grey.

    >>> result = {"setting": {"bands": [0, 0.5, 1]}, "cells": [], "summary": [{"construction": "ring", "snr": None}]}
    >>> snr_figure(result).axes[0].texts[0].get_text()
    'not measured here'
    """

    def behind(one: "Axes", row: Plain, places: np.ndarray) -> None:
        for other in summary_rows(result):
            snr = stacked([other], "snr")
            if other["construction"] != row["construction"] and snr.shape[1] == len(places):
                one.plot(snr[0], color=MIDDLE_GREY, linewidth=0.8, alpha=0.45)
        low, high = _snr_reach(result, row["construction"])
        if len(low) == len(places):
            colour = style_of(row.get("circular"))["color"]
            one.vlines(places, low, high, color=colour, linewidth=3, alpha=0.35)

    return _band_figure(result, "snr", behind, "signal / noise", None, wide)


def _band_figure(
    result: Plain,
    column: str,
    behind: Callable[["Axes", Plain, np.ndarray], None],
    label: str,
    low: float | None,
    wide: bool,
) -> "Figure":
    """Draw a column over the bands, a panel for each construction, on one scale; `behind` draws what is below it."""
    rows = [row for row in summary_rows(result) if stacked([row], column).size]
    figure, axes = panel_grid(len(rows), wide=wide, height=1.5)
    in_shares = True
    for one, row in zip(axes, rows, strict=True):
        values = stacked([row], column)[0]
        places = np.arange(len(values))
        behind(one, row, places)
        one.plot(places, values, marker="o", markersize=4, linewidth=1.6, **style_of(row.get("circular")))
        panel_title(one, row["construction"], 32 if wide else 25)
        names = band_names(result, row["construction"], len(values))
        in_shares = in_shares and names != PARTIAL
        draw_bands(one, names)
    common_limits(axes, low)
    unit = "% of the modes " if in_shares else ""
    outer_labels(figure, axes, f"graph frequency, {unit}from low to high", label)
    return figure


def _snr_reach(result: Plain, construction: str) -> tuple[np.ndarray, np.ndarray]:
    cells = [cell for cell in result["cells"] if cell["construction"] == construction]
    if len({cell["layer"] for cell in cells}) > 1:
        found = quartiles(stacked(cells, "snr"))
        return found[0], found[2]
    low, high = stacked(cells, "snr_interval_low"), stacked(cells, "snr_interval_high")
    return (quartiles(low)[1], quartiles(high)[1]) if low.shape == high.shape else (np.empty(0), np.empty(0))


def spectra_figure(result: Plain, *, wide: bool = False) -> "Figure":
    """Draw the eigenvalues of each construction's graphs, from low to high graph frequency.

    The line is the median over layers, the shade lies between their quartiles. Laplacians come first, on one scale;
    eigenvalues of an adjacency are in other units, and have a scale of their own.

    >>> cell = {"layer": "a", "construction": "ring", "shift": "laplacian", "eigenvalues": [0.0, 1.0, 2.0]}
    >>> figure = spectra_figure({"cells": [cell], "constructions": [{"name": "ring"}]})
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [0.0, 1.0, 2.0]
    """
    groups = spectra(result)
    figure, axes = panel_grid(len(groups), wide=wide, height=1.5)
    for one, (name, shift, values) in zip(axes, groups, strict=True):
        places = np.linspace(0, 100, values.shape[1])
        colour = PALETTE[2] if shift == "adjacency" else PALETTE[0]
        one.fill_between(places, values[0], values[2], color=colour, alpha=0.25, linewidth=0)
        one.plot(places, values[1], color=colour, linewidth=1.6)
        panel_title(one, f"{name} (adjacency)" if shift == "adjacency" else name, 32 if wide else 25)
    for kind in ("laplacian", "adjacency"):
        common_limits([one for one, (_, shift, _) in zip(axes, groups, strict=True) if shift == kind])
    outer_labels(figure, axes, "% of the modes, from low to high graph frequency", "eigenvalue")
    if len({shift for _, shift, _ in groups}) > 1:
        for one in axes:
            one.tick_params(labelleft=True)
    return figure


def spectra(result: Plain) -> list[tuple[str, str, np.ndarray]]:
    """Give construction, shift and the quartiles of its eigenvalues over layers, of shape (3, quantiles).

    They are what `spectra_figure` draws; Laplacians come first.

    >>> cell = {"layer": "a", "construction": "ring", "shift": "laplacian", "eigenvalues": [0.0, 2.0]}
    >>> spectra({"cells": [cell], "constructions": [{"name": "ring"}]})[0][:2]
    ('ring', 'laplacian')
    """
    groups = []
    for kind in ("laplacian", "adjacency"):
        for name in construction_names(result):
            cells = [cell for cell in result["cells"] if cell["construction"] == name]
            values = stacked(
                [cell for cell in cells if (cell.get("shift") or "laplacian") == kind], "eigenvalues"
            )
            if values.size:
                # The strong modes of an adjacency are its low frequencies.
                ordered = -np.sort(-values, axis=1) if kind == "adjacency" else np.sort(values, axis=1)
                groups.append((name, kind, quartiles(ordered)))
    return groups


def subgraph_figure(result: Plain) -> "Figure":
    """Draw the graph that the comparison kept for it, its "drawing".

    Nodes are coloured by the first oscillating eigenvector, so nodes of a colour hang together.

    >>> subgraph_figure({"drawing": None}).axes[0].texts[0].get_text()
    'not measured here'
    """
    drawing = result.get("drawing")
    if not drawing:
        return panel_grid(0, wide=False, height=1.5)[0]
    import networkx as nx

    from paramgraph.plotting import draw_graph

    graph = nx.empty_graph(drawing["nodes"])
    graph.add_weighted_edges_from(drawn_edges(drawing))
    figure = new_figure(NARROW, 3.4)
    values = drawing.get("values")
    draw_graph(graph, figure.axes[0], color=None if values is None else np.array(values, dtype=float))
    return figure


def drawn_edges(drawing: Plain) -> list[tuple[int, int, float]]:
    """List the edges of the kept graph, each once and in order, whether it was kept in one direction or in both.

    >>> drawn_edges({"edge_index": [[0, 1, 2], [1, 0, 1]], "edge_weight": [0.5, 0.5, 2.0]})
    [(0, 1, 0.5), (1, 2, 2.0)]
    """
    (first, second), weights = drawing["edge_index"], drawing["edge_weight"]
    ends = [(min(pair), max(pair)) for pair in zip(first, second, strict=True)]
    return sorted({(*pair, weight) for pair, weight in zip(ends, weights, strict=True)})
