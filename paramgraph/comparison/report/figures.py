"""Figures of a comparison as they stand in its page: two widths, a caption, the numbers, the line that makes them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from paramgraph.comparison.report import drawings as drawings
from paramgraph.comparison.report.agreement import agreement_pairs
from paramgraph.comparison.report.values import (
    band_labels,
    construction_names,
    csv_text,
    is_number,
    median_cells,
    quartiles,
    stacked,
    summary_rows,
)
from paramgraph.display import FigureView, themed_svg

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


def heatmap_views(result: Mapping[str, Any]) -> list[FigureView]:
    """Draw the heat maps of what was measured, layers by constructions."""
    cells = median_cells(result["cells"], ("layer", "construction"))
    views = []
    for column, (title, caption) in HEATMAPS.items():
        if any(is_number(cell.get(column)) for cell in cells):
            views.append(
                FigureView(
                    title,
                    themed_svg(drawings.heatmap_figure(result, column), f"heat-{_key(column)}"),
                    _over_seeds(result, caption),
                    _wide(result, f"heat-{_key(column)}", drawings.heatmap_figure, column),
                    _heatmap_data(cells, column),
                    f"{column}.csv",
                    _command(result, f'{{}}.plot_heatmap("{column}")'),
                )
            )
    return views


def band_views(result: Mapping[str, Any]) -> list[FigureView]:
    """Draw what was measured over the graph frequency: energy, signal-to-noise, eigenvalues."""
    views = []
    labels = band_labels(result["setting"]["bands"])
    circular = (
        " Dashed: circular, built from the measured signal itself."
        if any(row.get("circular") for row in result["summary"])
        else ""
    )
    if any(stacked([row], "energy").size for row in result["summary"]):
        views.append(
            FigureView(
                "Energy",
                themed_svg(drawings.energy_figure(result), "energy"),
                "The share of the signal's energy in each band, pooled over layers. Grey: the permuted null, "
                f"with two standard deviations of its mean either way.{circular}",
                _wide(result, "energy", drawings.energy_figure),
                _band_data(result, labels, ("energy", "null_energy", "null_energy_sd")),
                "energy.csv",
                _command(result, "{}.plot_energy()"),
            )
        )
    if any(stacked([row], "snr").size for row in result["summary"]):
        views.append(
            FigureView(
                "Signal and noise",
                themed_svg(drawings.snr_figure(result), "snr"),
                "The squared mean gradient over its variance, on batches that built no graph, pooled over layers. Bars "
                "reach from the lower to the upper quartile of layers (of one layer: 95 %); in grey, all other "
                f"constructions.{circular}",
                _wide(result, "snr", drawings.snr_figure),
                _snr_data(result, labels),
                "signal_to_noise.csv",
                _command(
                    result,
                    "snr_figure({}.to_dict())",
                    "from paramgraph.comparison.report.drawings import snr_figure",
                ),
            )
        )
    if drawings.spectra(result):
        views.append(
            FigureView(
                "Spectra",
                themed_svg(drawings.spectra_figure(result), "spectra"),
                "Eigenvalues from low to high graph frequency: the median over layers, and between its quartiles the "
                "shade. Those of an adjacency are in other units than those of a Laplacian, and fall where these rise.",
                _wide(result, "spectra", drawings.spectra_figure),
                _spectra_data(result),
                "spectra.csv",
                _command(result, "{}.plot_spectra()"),
            )
        )
    return views


def agreement_view(result: Mapping[str, Any]) -> FigureView | None:
    """Draw the agreement of constructions, if there is a pair of them."""
    pairs = agreement_pairs(result)
    if not pairs:
        return None
    header = ("first", "second", "jaccard", "expected_jaccard", "alignment", "expected_alignment")
    return FigureView(
        "Agreement of constructions",
        themed_svg(drawings.agreement_figure(result), "agreement"),
        "Medians over layers. Blue: the share of edges that two graphs have in common. Green: how far their lowest "
        "modes span the same space, over what chance gives; 1 is chance.",
        data=csv_text(header, pairs),
        file_name="agreement.csv",
        command=_command(result, "{}.plot_agreement()"),
    )


def subgraph_view(result: Mapping[str, Any]) -> FigureView | None:
    """Draw the graph that was kept for it, if there is one."""
    drawing = result.get("drawing")
    if not drawing:
        return None
    edges = drawings.drawn_edges(drawing)
    whole = drawing.get("of_nodes") or drawing["nodes"]
    nodes = (
        f"{drawing['nodes']:,} nodes"
        if whole == drawing["nodes"]
        else f"{drawing['nodes']:,} of {whole:,} nodes"
    )
    return FigureView(
        "A graph, drawn",
        themed_svg(drawings.subgraph_figure(result), "subgraph"),
        f"{drawing['construction']}, of {drawing['layer']}: {nodes}, {len(edges):,} edges. Nodes of "
        "a colour hang together: it is the first oscillating eigenvector.",
        data=csv_text(("node", "neighbour", "weight"), edges),
        file_name="graph.csv",
        command=_command(result, "{}.plot_subgraph()"),
    )


def _wide(result: Mapping[str, Any], name: str, figure: Callable[..., Any], *arguments: str) -> str:
    """Draw a figure for wide windows, unless its panels are so few that they would be drawn out of proportion."""
    layers = {cell["layer"] for cell in result["cells"]}
    many = len(layers) > 6 if arguments else len(construction_names(result)) > 2
    return themed_svg(figure(result, *arguments, wide=True), f"wide-{name}") if many else ""


def _command(result: Mapping[str, Any], call: str, more: str = "") -> str:
    """Say how to make a figure again; `call` has braces where the comparison stands."""
    made = str(result["setting"].get("command") or "")
    lines = [more] if more else []
    if made.startswith("paramgraph.compare("):
        return "\n".join([*lines, f"comparison = {made}", call.format("comparison")])
    # A command leaves its numbers beside this page.
    call = call.format('paramgraph.Comparison.from_json("comparison.json")')
    script = "; ".join(["import paramgraph", *lines, f'{call}.savefig("figure.svg")'])
    return f"{made}\npython -c '{script}'".lstrip()


def _over_seeds(result: Mapping[str, Any], caption: str) -> str:
    seeds = len(result["setting"].get("seeds") or ())
    return f"{caption} Medians over {seeds} seeds." if seeds > 1 else caption


def _key(column: str) -> str:
    return column.replace("_", "-")


def _heatmap_data(cells: Iterable[Mapping[str, Any]], column: str) -> str:
    null = f"{column}_permuted"
    cells = list(cells)
    beside = (null,) if any(is_number(cell.get(null)) for cell in cells) else ()
    header = ("layer", "construction", column, *beside)
    return csv_text(header, [[cell.get(field) for field in header] for cell in cells])


def _band_data(result: Mapping[str, Any], labels: Sequence[str], columns: Sequence[str]) -> str:
    rows = []
    for row in summary_rows(result):
        for band, label in enumerate(labels):
            found = [(row.get(column) or [])[band : band + 1] for column in columns]
            rows.append([row["construction"], label, *(one[0] if one else None for one in found)])
    return csv_text(("construction", "band_percent", *columns), rows)


def _snr_data(result: Mapping[str, Any], labels: Sequence[str]) -> str:
    rows = []
    pooled = {row["construction"]: row.get("snr") or [None] * len(labels) for row in result["summary"]}
    for name in construction_names(result):
        found = quartiles(stacked([cell for cell in result["cells"] if cell["construction"] == name], "snr"))
        for band, label in enumerate(labels):
            ends = [float(found[0, band]), float(found[2, band])] if band < found.shape[1] else [None, None]
            rows.append([name, label, pooled.get(name, [None] * len(labels))[band], *ends])
    return csv_text(
        ("construction", "band_percent", "snr", "lower_quartile_of_layers", "upper_quartile_of_layers"), rows
    )


def _spectra_data(result: Mapping[str, Any]) -> str:
    rows = [
        (name, shift, f"{at / max(values.shape[1] - 1, 1):g}", *map(float, values[:, at]))
        for name, shift, values in drawings.spectra(result)
        for at in range(values.shape[1])
    ]
    return csv_text(
        ("construction", "operator", "share_of_modes", "lower_quartile", "median", "upper_quartile"), rows
    )
