"""Figures of a comparison over the graph frequency, and its drawn subgraph; the others are defined beside it.

Each takes the comparison as plain data, as `Comparison.to_dict` gives it, and returns a matplotlib figure. What was
not measured is left out; a figure without anything to show says so.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from paramgraph.comparison.report.agreement import agreement_figure
from paramgraph.comparison.report.heatmap import heatmap_figure
from paramgraph.comparison.report.panels import (
    NARROW,
    common_limits,
    draw_bands,
    outer_labels,
    panel_grid,
    panel_title,
    style_of,
)
from paramgraph.comparison.report.values import (
    band_labels,
    construction_names,
    quartiles,
    stacked,
    summary_rows,
)
from paramgraph.display import MIDDLE_GREY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "agreement_figure",
    "energy_figure",
    "heatmap_figure",
    "snr_figure",
    "spectra_figure",
    "subgraph_figure",
]

BAND_AXIS = "graph frequency, % of the modes from low to high"


def energy_figure(result: Mapping[str, Any], *, wide: bool = False) -> "Figure":
    """Draw the share of the signal's energy in each band, beside the permuted null.

    Parameters
    ----------
    result : mapping
        A comparison as plain data.
    wide : bool, default False
        For a wide window: more panels side by side.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for each construction, the most compact first; the grey bars are the null's mean and two standard
        deviations either way.

    Examples
    --------
    >>> row = {"construction": "ring", "energy": [0.5, 0.5], "null_energy": [0.5, 0.5], "null_energy_sd": [0.1, 0.1]}
    >>> figure = energy_figure({"setting": {"bands": [0, 0.5, 1]}, "cells": [], "summary": [row]})
    >>> figure.axes[0].get_title(loc="left")
    'ring'
    """
    rows = [row for row in summary_rows(result) if stacked([row], "energy").size]
    figure, axes = panel_grid(len(rows), wide=wide, height=1.5)
    labels = band_labels(result["setting"]["bands"])
    for one, row in zip(axes, rows, strict=True):
        energy = stacked([row], "energy")[0]
        places = np.arange(len(energy))
        null, spread = stacked([row], "null_energy"), stacked([row], "null_energy_sd")
        if null.shape[1] == len(energy):
            reach = 2 * spread[0] if spread.shape == null.shape else np.zeros(len(energy))
            one.bar(places, 2 * reach, 0.8, null[0] - reach, color=MIDDLE_GREY, alpha=0.35, linewidth=0)
            one.hlines(null[0], places - 0.4, places + 0.4, color=MIDDLE_GREY, linewidth=1.5)
        one.plot(places, energy, marker="o", markersize=4, linewidth=1.6, **style_of(row.get("circular")))
        panel_title(one, row["construction"], 32 if wide else 25)
        draw_bands(one, labels)
    common_limits(axes, 0.0)
    outer_labels(figure, axes, BAND_AXIS, "share of energy")
    return figure


def snr_figure(result: Mapping[str, Any], *, wide: bool = False) -> "Figure":
    """Draw the signal-to-noise ratio in each band, on batches that built no graph.

    Parameters
    ----------
    result : mapping
        A comparison as plain data.
    wide : bool, default False
        For a wide window: more panels side by side.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for each construction: the ratio pooled over layers, bars from the lower to the upper quartile of
        the layers (of one layer, its 95 % interval), and all other constructions in grey.

    Examples
    --------
    >>> result = {"setting": {"bands": [0, 0.5, 1]}, "cells": [], "summary": [{"construction": "ring", "snr": None}]}
    >>> snr_figure(result).axes[0].texts[0].get_text()
    'not measured here'
    """
    rows = [row for row in summary_rows(result) if stacked([row], "snr").size]
    figure, axes = panel_grid(len(rows), wide=wide, height=1.5)
    labels = band_labels(result["setting"]["bands"])
    for one, row in zip(axes, rows, strict=True):
        for other in rows:
            if other is not row:
                one.plot(stacked([other], "snr")[0], color=MIDDLE_GREY, linewidth=0.8, alpha=0.45)
        snr = stacked([row], "snr")[0]
        places = np.arange(len(snr))
        low, high = _snr_reach(result, row["construction"])
        style = style_of(row.get("circular"))
        if len(low) == len(snr):
            one.vlines(places, low, high, color=style["color"], linewidth=3, alpha=0.35)
        one.plot(places, snr, marker="o", markersize=4, linewidth=1.6, **style)
        panel_title(one, row["construction"], 32 if wide else 25)
        draw_bands(one, labels)
    common_limits(axes)
    outer_labels(figure, axes, BAND_AXIS, "signal / noise")
    return figure


def _snr_reach(result: Mapping[str, Any], construction: str) -> tuple[np.ndarray, np.ndarray]:
    cells = [cell for cell in result["cells"] if cell["construction"] == construction]
    if len({cell["layer"] for cell in cells}) > 1:
        found = quartiles(stacked(cells, "snr"))
        return found[0], found[2]
    low, high = stacked(cells, "snr_interval_low"), stacked(cells, "snr_interval_high")
    return (quartiles(low)[1], quartiles(high)[1]) if low.shape == high.shape else (np.empty(0), np.empty(0))


def spectra_figure(result: Mapping[str, Any], *, wide: bool = False) -> "Figure":
    """Draw the eigenvalues of each construction's graphs, from low to high graph frequency.

    Parameters
    ----------
    result : mapping
        A comparison as plain data.
    wide : bool, default False
        For a wide window: more panels side by side.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for each construction: the median over layers, and between their quartiles a shade. Laplacians come
        first, on one scale; eigenvalues of an adjacency are in other units, and have a scale of their own.

    Examples
    --------
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


def spectra(result: Mapping[str, Any]) -> list[tuple[str, str, np.ndarray]]:
    """Summarise the eigenvalues of each construction over its layers: what `spectra_figure` draws.

    Parameters
    ----------
    result : mapping
        A comparison as plain data.

    Returns
    -------
    list of (construction, shift, ndarray of shape (3, quantiles))
        Lower quartile, median and upper quartile; Laplacians first.

    Examples
    --------
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


def subgraph_figure(result: Mapping[str, Any]) -> "Figure":
    """Draw the graph that the comparison kept for it.

    Parameters
    ----------
    result : mapping
        A comparison as plain data; its "drawing" is the graph.

    Returns
    -------
    matplotlib.figure.Figure
        Nodes are coloured by the first oscillating eigenvector, so nodes of a colour hang together.

    Examples
    --------
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


def drawn_edges(drawing: Mapping[str, Any]) -> list[tuple[int, int, float]]:
    """List the edges of the kept graph, each once, whether it was kept in one direction or in both.

    Parameters
    ----------
    drawing : mapping
        Of a comparison: "edge_index" and "edge_weight".

    Returns
    -------
    list of (node, neighbour, weight)
        In order; the smaller node first.

    Examples
    --------
    >>> drawn_edges({"edge_index": [[0, 1, 2], [1, 0, 1]], "edge_weight": [0.5, 0.5, 2.0]})
    [(0, 1, 0.5), (1, 2, 2.0)]
    """
    (first, second), weights = drawing["edge_index"], drawing["edge_weight"]
    ends = [(min(pair), max(pair)) for pair in zip(first, second, strict=True)]
    return sorted({(*pair, weight) for pair, weight in zip(ends, weights, strict=True)})
