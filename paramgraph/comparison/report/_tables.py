"""Tables of a comparison: one row for each construction, and one for each layer and construction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from paramgraph.comparison.report._values import BLANK, Plain, median_cells, number_text, summary_rows
from paramgraph.display import TableView

# A row has some 35 cells of 20 bytes: this many rows are 2 MB, and a browser still sorts them at once.
MOST_ROWS = 3000


@dataclass(frozen=True)
class Column:
    """A column of a table: where its numbers stand, how they are written, what they mean."""

    group: str
    name: str
    field: str
    style: str
    hint: str = ""
    quiet: bool = False
    words: bool = False


SUMMARY = (
    Column("compaction", "measured", "compaction", ".3f", "share of energy in the lowest modes"),
    Column("compaction", "permuted", "compaction_permuted", ".3f", "null: nodes shuffled", quiet=True),
    Column(
        "compaction", "rotated", "compaction_rotated", ".3f", "null: same spectrum, random basis", quiet=True
    ),
    Column(
        "compaction",
        "random",
        "compaction_random",
        ".3f",
        "null: random graph of the same degrees",
        quiet=True,
    ),
    Column(
        "compaction", "z", "z_score", ".1f", "standard deviations from the permuted null, pooled over layers"
    ),
    Column("compaction", "p", "p_value", ".2g", "share of permutations whose sum over layers is as large"),
    Column("compaction", "p, Holm", "p_holm", ".2g", "corrected for the number of constructions"),
    Column(
        "lift of the lowest band",
        "measured",
        "lift_low",
        ".2f",
        "signal-to-noise over that of all bands; 1: no better",
    ),
    Column("lift of the lowest band", "95 %", "lift_low_interval", ".2f", "jackknife over batches"),
    Column(
        "lift of the lowest band", "permuted", "lift_low_permuted", ".2f", "null: nodes shuffled", quiet=True
    ),
    Column("gain in batch size", "measured", "gain", ".3f", "1: a filter does not help"),
    Column("gain in batch size", "95 %", "gain_interval", ".3f", "jackknife over batches"),
    Column("gain in batch size", "permuted", "gain_permuted", ".3f", "null: nodes shuffled", quiet=True),
    Column("stability", "edges", "edge_stability", ".2f", "Jaccard of graphs from two halves of the batches"),
    Column(
        "stability", "chance", "edge_stability_expected", ".2f", "what random edges would share", quiet=True
    ),
    Column("stability", "seeds", "seed_stability", ".2f", "Jaccard of graphs of two seeds"),
    Column("graph", "layers", "layers", ",", "matrices that were compared"),
    Column("graph", "nodes", "nodes", ",", "sum over layers"),
    Column("graph", "edges", "edges", ",", "sum over layers, each undirected edge once"),
    Column("cost", "seconds", "seconds", ".2f", "to build and to measure, all layers"),
    Column("cost", "MB", "graph_megabytes", ".2f", "of the graph as it is stored"),
)

LAYERS = (
    Column("", "construction", "construction", "", words=True),
    Column("", "seed", "seed", ","),
    *(
        column
        for column in SUMMARY
        if column.group == "compaction" and column.field not in ("z_score", "p_value", "p_holm")
    ),
    Column("compaction", "z", "z_score", ".1f", "standard deviations from the permuted null"),
    Column(
        "compaction",
        "z, rotated",
        "z_rotated",
        ".1f",
        "standard deviations from the rotated null",
        quiet=True,
    ),
    Column("compaction", "p", "p_value", ".2g", "share of permutations that do as well"),
    Column("energy", "lowest", "energy_low", ".3f", "share in the lowest band"),
    Column("energy", "permuted", "null_energy_low", ".3f", "null: the same band, nodes shuffled", quiet=True),
    Column("energy", "highest", "energy_high", ".3f", "share in the highest band"),
    Column("signal / noise", "lowest", "snr_low", ".4f", "in the lowest band"),
    Column("signal / noise", "highest", "snr_high", ".4f", "in the highest band"),
    *(
        column
        for column in SUMMARY
        if column.group in ("lift of the lowest band", "gain in batch size", "stability")
    ),
    Column(
        "response", "gains, low to high", "response_gains", ".2f", "recommended filter, measured", words=True
    ),
    Column("graph", "nodes", "nodes", ","),
    Column("graph", "edges", "edges", ",", "each undirected edge once"),
    Column("graph", "components", "components", ",", "parts without an edge between them"),
    Column("graph", "isolated", "isolated", ",", "nodes without an edge"),
    Column("degrees", "least", "degree_min", ",", "numbers of neighbours"),
    Column("degrees", "median", "degree_median", ",", "numbers of neighbours"),
    Column("degrees", "mean", "degree_mean", ".1f", "numbers of neighbours"),
    Column("degrees", "most", "degree_max", ",", "numbers of neighbours"),
    Column("spectrum", "gap", "spectral_gap", ".3g", "how far the lowest frequencies stand apart"),
    Column(
        "spectrum",
        "connectivity",
        "algebraic_connectivity",
        ".3g",
        "second smallest eigenvalue of the Laplacian",
    ),
    Column("spectrum", "modes", "modes", ",", "eigenvectors that were computed"),
    Column("spectrum", "operator", "shift", "", "whose eigenvalues they are", words=True),
    Column("cost", "build s", "build_seconds", ".3f", "seconds to build the graph"),
    Column("cost", "seconds", "seconds", ".2f", "to build and to measure"),
    Column("cost", "MB", "graph_megabytes", ".2f", "of the graph as it is stored"),
)


def summary_table(result: Plain) -> TableView:
    """Make the table of constructions, measures pooled over layers, nulls beside them, sortable.

    Columns in which nothing was measured are left out. Constructions that are nulls, or circular, built from the
    measured signal itself, are named so, come last and are drawn paler.

    >>> summary_table({"summary": [{"construction": "ring", "compaction": 0.21}]}).rows
    (('ring', '0.210'),)
    """
    rows = summary_rows(result)
    caption = "One row for each construction, layers pooled, nulls beside each measure; a column's name sorts by it."
    return column_table("construction", "name", SUMMARY, rows, caption)


def layer_table(result: Plain, most_rows: int = MOST_ROWS) -> TableView:
    """Make the table of all layers and constructions, sortable, with a filter by text and by construction.

    Where there would be more than `most_rows` they are medians over seeds, and if that does not do, over the layers of
    a role; the caption says so.

    >>> cell = {"layer": "0.weight", "construction": "ring", "seed": 0, "response": {"gains": [1.0, 0.5, 0.25]}}
    >>> layer_table({"cells": [cell]}).rows
    (('0.weight', 'ring', '0', '1.00 0.50 0.25'),)
    """
    cells = [_flat(cell) for cell in result["cells"]]
    caption = f"All {len(cells):,} rows: one for each layer, construction and seed."
    first = "layer"
    if len(cells) > most_rows:
        whole, cells = len(cells), median_cells(cells, ("layer", "construction"))
        caption = f"Medians over seeds of {whole:,} cells; the JSON and the data frame have each of them."
        if len(cells) > most_rows:
            cells, first = median_cells(cells, ("role", "construction")), "role"
            caption = f"Medians over depth and seeds of {whole:,} cells; the JSON and the data frame have each of them."
        for cell in cells:
            cell["seed"] = None
    kinds = tuple(str(cell["construction"]) for cell in cells)
    return column_table(first, first, LAYERS, cells, caption, kinds)


def _flat(cell: Plain) -> dict[str, Any]:
    null, response = cell.get("null_energy"), cell.get("response")
    return {
        **cell,
        "null_energy_low": null[0] if null else None,
        "response_gains": response.get("gains") if response else None,
    }


def column_table(
    first: str,
    field: str,
    columns: Iterable[Column],
    rows: Sequence[Plain],
    caption: str,
    kinds: tuple[str, ...] = (),
) -> TableView:
    """Make a table of rows by columns; those without anything are left out, and rows of a `kind` are paler."""
    cells = {column: [number_text(row.get(column.field), column.style) for row in rows] for column in columns}
    used = [column for column, texts in cells.items() if any(text != BLANK for text in texts)]
    groups: list[tuple[str, int]] = [("", 1)]
    for place, column in enumerate(used):
        if place and used[place - 1].group == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return TableView(
        header=(first, *(column.name for column in used)),
        rows=tuple((str(row[field]), *(cells[column][at] for column in used)) for at, row in enumerate(rows)),
        caption=caption,
        muted=frozenset(place for place, row in enumerate(rows) if row.get("kind")),
        groups=tuple(groups),
        hints=("", *(column.hint for column in used)),
        quiet=frozenset(place for place, column in enumerate(used, 1) if column.quiet),
        words=frozenset(place for place, column in enumerate(used, 1) if column.words),
        sortable=True,
        kinds=kinds,
    )
