"""Figures of a comparison as they stand in its page: two widths, a caption, the numbers, the line that makes them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from paramgraph.comparison.report._values import (
    Plain,
    band_names,
    construction_names,
    csv_text,
    is_number,
    layer_cells,
    quartiles,
    stacked,
    summary_rows,
)
from paramgraph.comparison.report.agreement import agreement_figure, agreement_pairs
from paramgraph.comparison.report.drawings import (
    drawn_edges,
    energy_figure,
    snr_figure,
    spectra,
    spectra_figure,
    subgraph_figure,
)
from paramgraph.comparison.report.heatmap import heatmap_figure
from paramgraph.display import FigureView, themed_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEATMAPS = {
    "compaction": (
        "Compaction",
        "The share of the signal's energy in the lowest modes of each graph. A graph that knows nothing of the signal "
        "stays without colour.",
    ),
    "z_score": (
        "Beyond the permuted null",
        "How many standard deviations compaction lies above (blue) or below (orange) that of shuffled nodes.",
    ),
    "lift_low": (
        "Lift of the lowest band",
        "Signal-to-noise of the lowest band over that of the whole spectrum, on batches that built no graph.",
    ),
    "gain": (
        "Gain in effective batch size",
        "How many times larger an unfiltered batch would have to be to point as well.",
    ),
    "edge_stability": (
        "Stable edges",
        "The share of edges that graphs from two halves of the building batches have in common.",
    ),
}


def heatmap_views(result: Plain) -> list[FigureView]:
    """Draw the heat maps of what was measured, layers by constructions."""
    cells, pooled = layer_cells(result)
    many = len({cell["layer"] for cell in cells}) > 6
    # Pooled once for all maps.
    result = {**result, "cells": cells} if pooled else result
    return [
        _view(
            *(
                result,
                title,
                f"{caption} {pooled}".rstrip() if pooled else _over_seeds(result, caption),
                f"heat-{column.replace('_', '-')}",
            ),
            partial(heatmap_figure, result, column),
            *(_heatmap_data(cells, column), f"{column}.csv", f'plot_heatmap("{column}")'),
            wide=many,
        )
        for column, (title, caption) in HEATMAPS.items()
        if any(is_number(cell.get(column)) for cell in cells)
    ]


def band_views(result: Plain) -> list[FigureView]:
    """Draw what was measured over the graph frequency: energy, signal-to-noise, eigenvalues."""
    many = len(construction_names(result)) > 2
    circular = any(row.get("circular") for row in result["summary"])
    dashed = " Dashed: circular, built from the measured signal itself." if circular else ""
    views = []
    if any(stacked([row], "energy").size for row in result["summary"]):
        caption = (
            "The share of the signal's energy in each band, pooled over layers. Grey: the permuted null, with two "
            f"standard deviations of its mean either way.{dashed}"
        )
        data = _energy_data(result)
        figure = partial(energy_figure, result)
        views.append(
            _view(result, "Energy", caption, "energy", figure, data, "energy.csv", "plot_energy()", wide=many)
        )
    if any(stacked([row], "snr").size for row in result["summary"]):
        caption = (
            "The squared mean gradient over its variance, on batches that built no graph, pooled over layers. Bars "
            "reach from the lower to the upper quartile of layers (of one layer: 95 %); in grey, all other "
            f"constructions.{dashed}"
        )
        data, file = _snr_data(result), "signal_to_noise.csv"
        figure = partial(snr_figure, result)
        views.append(
            _view(result, "Signal and noise", caption, "snr", figure, data, file, "plot_snr()", wide=many)
        )
    if spectra(result):
        caption = (
            "Eigenvalues from low to high graph frequency: the median over layers, and between its quartiles the "
            "shade. Those of an adjacency are in other units than those of a Laplacian, and fall where these rise."
        )
        data, file = _spectra_data(result), "spectra.csv"
        figure = partial(spectra_figure, result)
        views.append(
            _view(result, "Spectra", caption, "spectra", figure, data, file, "plot_spectra()", wide=many)
        )
    return views


def agreement_view(result: Plain) -> FigureView | None:
    """Draw the agreement of constructions, if there is a pair of them."""
    pairs = agreement_pairs(result)
    if not pairs:
        return None
    caption = (
        "Medians over layers. Blue: the share of edges that two graphs have in common. Green: how far their lowest "
        "modes span the same space, over what chance gives; 1 is chance."
    )
    header = ("first", "second", "jaccard", "expected_jaccard", "alignment", "expected_alignment")
    return _view(
        *(result, "Agreement of constructions", caption, "agreement", partial(agreement_figure, result)),
        *(csv_text(header, pairs), "agreement.csv", "plot_agreement()"),
    )


def subgraph_view(result: Plain) -> FigureView | None:
    """Draw the graph that was kept for it, if there is one."""
    drawing = result.get("drawing")
    if not drawing:
        return None
    edges = drawn_edges(drawing)
    whole = drawing.get("of_nodes") or drawing["nodes"]
    of = "" if whole == drawing["nodes"] else f" of {whole:,}"
    caption = (
        f"{drawing['construction']}, of {drawing['layer']}: {drawing['nodes']:,}{of} nodes, {len(edges):,} edges. "
        "Nodes of a colour hang together: it is the first oscillating eigenvector."
    )
    return _view(
        *(result, "A graph, drawn", caption, "subgraph", partial(subgraph_figure, result)),
        *(csv_text(("node", "neighbour", "weight"), edges), "graph.csv", "plot_subgraph()"),
    )


def _view(
    result: Plain,
    title: str,
    caption: str,
    key: str,
    figure: Callable[..., "Figure"],
    data: str,
    file_name: str,
    call: str,
    *,
    wide: bool = False,
) -> FigureView:
    """Draw a figure, with `wide` for wide windows too: a few panels would be drawn out of proportion there."""
    wide_svg = themed_svg(figure(wide=True), f"wide-{key}") if wide else ""
    return FigureView(
        title, themed_svg(figure(), key), caption, wide_svg, data, file_name, _command(result, call)
    )


def _command(result: Plain, call: str) -> str:
    """Say how to make a figure again, by a method of the comparison."""
    made = str(result["setting"].get("command") or "")
    if made.startswith("paramgraph.compare("):
        return f"comparison = {made}\ncomparison.{call}"
    # A command leaves its numbers beside this page.
    call = f'paramgraph.Comparison.from_json("comparison.json").{call}.savefig("figure.svg")'
    return f"{made}\npython -c 'import paramgraph; {call}'".lstrip()


def _over_seeds(result: Plain, caption: str) -> str:
    seeds = len(result["setting"].get("seeds") or ())
    return f"{caption} Medians over {seeds} seeds." if seeds > 1 else caption


def _heatmap_data(cells: Sequence[Plain], column: str) -> str:
    null = f"{column}_permuted"
    beside = (null,) if any(is_number(cell.get(null)) for cell in cells) else ()
    header = ("layer", "construction", column, *beside)
    return csv_text(header, [[cell.get(field) for field in header] for cell in cells])


def _energy_data(result: Plain) -> str:
    columns = ("energy", "null_energy", "null_energy_sd")
    rows = []
    for row in summary_rows(result):
        labels = band_names(result, row["construction"], len(row.get("energy") or ()))
        for band, label in enumerate(labels):
            found = [(row.get(column) or [])[band : band + 1] for column in columns]
            rows.append([row["construction"], label, *(one[0] if one else None for one in found)])
    return csv_text(("construction", "band_percent", *columns), rows)


def _snr_data(result: Plain) -> str:
    rows = []
    pooled = {row["construction"]: row.get("snr") or [] for row in result["summary"]}
    for name in construction_names(result):
        found = quartiles(stacked([cell for cell in result["cells"] if cell["construction"] == name], "snr"))
        known = pooled.get(name, [])
        for band, label in enumerate(band_names(result, name, len(known) or found.shape[1])):
            ends = [float(found[0, band]), float(found[2, band])] if band < found.shape[1] else [None, None]
            rows.append([name, label, known[band] if band < len(known) else None, *ends])
    return csv_text(
        ("construction", "band_percent", "snr", "lower_quartile_of_layers", "upper_quartile_of_layers"), rows
    )


def _spectra_data(result: Plain) -> str:
    rows = [
        (name, shift, f"{at / max(values.shape[1] - 1, 1):g}", *map(float, values[:, at]))
        for name, shift, values in spectra(result)
        for at in range(values.shape[1])
    ]
    return csv_text(
        ("construction", "operator", "share_of_modes", "lower_quartile", "median", "upper_quartile"), rows
    )
