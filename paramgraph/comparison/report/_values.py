"""What tables and figures of a comparison share: the order of things, medians over layers, numbers as text and CSV."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float

from paramgraph._checks import is_number as is_real

BLANK = "\N{EN DASH}"
# A map of more layers than this is neither drawn soon nor read: 48 layers of 7 matrices each are 336.
MOST_LAYERS = 1000
# The bands of graphs that are too large for all modes.
PARTIAL = ["computed modes", "the rest"]
# A comparison, or a row of one, as plain data: what JSON holds, so its values are Any.
Plain = Mapping[str, Any]


def summary_rows(result: Plain) -> list[dict[str, Any]]:
    """Order the summary as all tables and figures do: the most compact first, nulls and circular ones last.

    Each row also gets its `kind` ("circular", "null" or ""), a name with it, and the intervals of lift and gain.

    >>> rows = [{"construction": "ring", "null": True, "compaction": 0.3}, {"construction": "knn", "compaction": 0.2}]
    >>> [row["name"] for row in summary_rows({"summary": rows})]
    ['knn', 'ring (null)']
    """

    def place(row: Plain) -> tuple[bool, float]:
        value = row.get("compaction")
        return bool(row["kind"]), -value if is_number(value) else math.inf

    return sorted(map(_about, result.get("summary") or ()), key=place)


def _about(row: Plain) -> dict[str, Any]:
    kind = "circular" if row.get("circular") else "null" if row.get("null") else ""
    name = f"{row['construction']} ({kind})" if kind else str(row["construction"])
    ends = {field: [row.get(f"{field}_low"), row.get(f"{field}_high")] for field in ("lift_low", "gain")}
    intervals = {f"{field}_interval": None if None in both else both for field, both in ends.items()}
    return {**row, "kind": kind, "name": name, **intervals}


def construction_names(result: Plain) -> list[str]:
    """List the constructions in the summary's order, then those that are in no summary, each once.

    >>> construction_names({"summary": [{"construction": "b"}], "constructions": [{"name": "a"}, {"name": "b"}]})
    ['b', 'a']
    """
    listed = [row["construction"] for row in summary_rows(result)]
    listed += [row["name"] for row in result.get("constructions") or ()]
    return list(dict.fromkeys(listed))


def layer_names(result: Plain) -> list[str]:
    """List the layers from shallow to deep, those without a depth last, otherwise as they came."""
    depths: dict[str, float] = {}
    for cell in result["cells"]:
        depth = cell.get("depth")
        depths.setdefault(cell["layer"], math.inf if depth is None or depth < 0 else depth)
    return sorted(depths, key=lambda layer: depths[layer])


def measured(result: Plain, column: str) -> bool:
    """Tell whether any cell or summary row has this column."""
    rows = [*result["cells"], *(result.get("summary") or ())]
    return any(is_number(row.get(column)) or bool(_numbers(row.get(column))) for row in rows)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number: None, NaN, text and lists are not."""
    # What JSON gives, millions of them for the experts of a model; the rest is NumPy's.
    return math.isfinite(value) if type(value) is float else is_real(value) and math.isfinite(value)


def median_cells(cells: Iterable[Plain], by: Sequence[str]) -> list[dict[str, Any]]:
    """Take medians over all cells that agree in the fields `by`: a row for each group, in the order they came.

    Of numbers the median of those there are, of lists entry by entry, of anything else the first. A group of one cell
    is that cell.

    >>> median_cells([{"layer": "a", "seed": 0, "gain": 1.0}, {"layer": "a", "seed": 1, "gain": 2.0}], ["layer"])
    [{'layer': 'a', 'seed': 0.5, 'gain': 1.5}]
    """
    groups: dict[tuple[Any, ...], list[Plain]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell.get(field) for field in by), []).append(cell)
    return [
        {
            field: group[0][field] if field in by else _median([cell.get(field) for cell in group])
            for field in group[0]
        }
        if len(group) > 1
        else dict(group[0])
        for group in groups.values()
    ]


def layer_cells(result: Plain, most_layers: int = MOST_LAYERS) -> tuple[list[dict[str, Any]], str]:
    """Take the medians that a map of layers draws, and say what they are over; "" where each cell is one.

    More than `most_layers`, such as all experts of a model, are pooled where role and depth are the same.

    >>> cells = [{"layer": f"0.experts[{at}]", "role": "experts", "depth": 0, "construction": "ring"} for at in (0, 1)]
    >>> pooled, what = layer_cells({"cells": cells}, most_layers=1)
    >>> [cell["layer"] for cell in pooled], what
    (['experts, depth 0'], 'Medians over seeds and the matrices of one kind and depth, 2 in all.')
    """
    cells = median_cells(result["cells"], ("layer", "construction"))
    layers = len({cell["layer"] for cell in cells})
    if layers <= most_layers:
        return cells, ""
    single = [
        {field: value for field, value in cell.items() if not isinstance(value, list | dict)}
        for cell in cells
    ]
    cells = median_cells(single, ("role", "depth", "construction"))
    for cell in cells:
        cell["layer"] = f"{cell.get('role') or 'other'}, depth {cell.get('depth')}"
    return cells, f"Medians over seeds and the matrices of one kind and depth, {layers:,} in all."


def _median(values: list[Any]) -> Any:
    numbers = [value for value in values if is_number(value)]
    if numbers:
        return float(np.median(numbers))
    lists = [value for value in values if isinstance(value, list | tuple) and len(value)]
    if lists and all(len(one) == len(lists[0]) for one in lists):
        return [_median(list(entries)) for entries in zip(*lists, strict=True)]
    return next((value for value in values if value is not None), None)


def _numbers(value: Any) -> list[float]:
    return [entry for entry in value if is_number(entry)] if isinstance(value, list | tuple) else []


def stacked(rows: Iterable[Plain], column: str) -> Float[np.ndarray, "rows entries"]:
    """Stack a column of lists, NaN where there is no number; of shape (0, 0) where no row has the list.

    Rows without this list, or with one of another length than the first, are left out.

    >>> stacked([{"snr": [1.0, None]}, {"snr": None}], "snr")
    array([[ 1., nan]])
    """
    lists = [row[column] for row in rows if _numbers(row.get(column))]
    lists = [one for one in lists if len(one) == len(lists[0])]
    if not lists:
        return np.empty((0, 0))
    return np.array(
        [[entry if is_number(entry) else math.nan for entry in one] for one in lists], dtype=float
    )


def quartiles(values: Float[np.ndarray, "rows entries"]) -> Float[np.ndarray, "3 entries"]:
    """Compute lower quartile, median and upper quartile of each entry over the rows, NaN where there is none."""
    found = np.full((3, values.shape[1]), math.nan)
    for entry in range(values.shape[1]):
        there = values[:, entry][np.isfinite(values[:, entry])]
        if len(there):
            found[:, entry] = np.quantile(there, [0.25, 0.5, 0.75])
    return found


def band_labels(edges: Sequence[float | int]) -> list[str]:
    """Name bands by their ends in per cent of the modes.

    >>> band_labels([0, 0.2, 1])
    ['0–20', '20–100']
    """
    ends = [f"{100 * edge:g}" for edge in edges]
    return [f"{low}\N{EN DASH}{high}" for low, high in pairwise(ends)]


def band_names(result: Plain, construction: str, count: int) -> list[str]:
    """Name the `count` bands of a construction: where not all modes were computed, those that were, and the rest.

    >>> band_names({"setting": {"bands": [0, 0.2, 0.4, 1]}, "cells": []}, "ring", 2)
    ['computed modes', 'the rest']
    """
    labels = band_labels(result["setting"]["bands"])
    cells = [cell for cell in result["cells"] if cell["construction"] == construction]
    partial = any((cell.get("modes") or 0) < (cell.get("nodes") or 0) for cell in cells)
    return PARTIAL if count == 2 and (partial or len(labels) != 2) else labels


def number_text(value: Any, style: str) -> str:
    """Write a value for a table, a dash where there is nothing; of a list, each entry, and of two an interval.

    `style` is a format of Python for one number; "," for counts.

    >>> number_text(1234.0, ","), number_text([0.1, 0.25], ".2f"), number_text(None, ".2f")
    ('1,234', '[0.10, 0.25]', '–')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        if not _numbers(value):
            return BLANK
        texts = [number_text(entry, style) for entry in value]
        return f"[{', '.join(texts)}]" if len(texts) == 2 else " ".join(texts)
    if not is_number(value):
        return BLANK
    # A median of counts may end in .5.
    return f"{value:,.10g}" if style == "," else f"{value:{style}}"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write rows as CSV; numbers have six significant digits, and what is missing is empty.

    >>> print(csv_text(["layer", "gain"], [["a,b", 1 / 3], ["c", None]]), end="")
    layer,gain
    "a,b",0.333333
    c,
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_csv_field(value) for value in row])
    return text.getvalue()


def _csv_field(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else str(value)
