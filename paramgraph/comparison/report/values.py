"""What tables and figures of a comparison share: the order of things, medians over layers, numbers as text and CSV."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

BLANK = "\N{EN DASH}"


def summary_rows(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Order the summary as all tables and figures do: the most compact first, nulls and circular ones last.

    Parameters
    ----------
    result : mapping
        A comparison as plain data.

    Returns
    -------
    list of mappings
        The rows, not copied.

    Examples
    --------
    >>> rows = [{"construction": "ring", "null": True, "compaction": 0.3}, {"construction": "knn", "compaction": 0.2}]
    >>> [row["construction"] for row in summary_rows({"summary": rows})]
    ['knn', 'ring']
    """

    def place(row: Mapping[str, Any]) -> tuple[bool, float]:
        value: Any = row.get("compaction")
        return bool(row.get("null") or row.get("circular")), -value if is_number(value) else math.inf

    return sorted(result.get("summary") or (), key=place)


def construction_names(result: Mapping[str, Any]) -> list[str]:
    """List the constructions in the summary's order, then those that are in no summary.

    Parameters
    ----------
    result : mapping
        A comparison as plain data.

    Returns
    -------
    list of str
        Each once.

    Examples
    --------
    >>> construction_names({"summary": [{"construction": "b"}], "constructions": [{"name": "a"}, {"name": "b"}]})
    ['b', 'a']
    """
    listed = [row["construction"] for row in summary_rows(result)]
    listed += [row["name"] for row in result.get("constructions") or ()]
    return list(dict.fromkeys(listed))


def layer_names(result: Mapping[str, Any]) -> list[str]:
    """List the layers from shallow to deep, those without a depth last, otherwise as they came."""
    depths: dict[str, float] = {}
    for cell in result["cells"]:
        depth = cell.get("depth")
        depths.setdefault(cell["layer"], math.inf if depth is None or depth < 0 else depth)
    return sorted(depths, key=lambda layer: depths[layer])


def measured(result: Mapping[str, Any], column: str) -> bool:
    """Tell whether any cell or summary row has this column."""
    rows = [*result["cells"], *(result.get("summary") or ())]
    return any(is_number(row.get(column)) or bool(_numbers(row.get(column))) for row in rows)


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number: None, NaN, text and lists are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def median_cells(cells: Iterable[Mapping[str, Any]], by: Sequence[str]) -> list[dict[str, Any]]:
    """Take medians over all cells that agree in some fields.

    Parameters
    ----------
    cells : iterable of mappings
        Rows of a comparison.
    by : sequence of str
        Fields that tell one group from another.

    Returns
    -------
    list of dict
        One row for each group, in the order in which they came. Numbers are medians of the numbers there are, lists
        medians entry by entry; of anything else the first is kept. A group of one cell is that cell.

    Examples
    --------
    >>> median_cells([{"layer": "a", "seed": 0, "gain": 1.0}, {"layer": "a", "seed": 1, "gain": 2.0}], ["layer"])
    [{'layer': 'a', 'seed': 0.5, 'gain': 1.5}]
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
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


def stacked(rows: Iterable[Mapping[str, Any]], column: str) -> Float[np.ndarray, "rows entries"]:
    """Stack a column of lists, NaN where there is no number.

    Parameters
    ----------
    rows : iterable of mappings
        Of cells; those without this list are left out, and so are those of another length than the first.
    column : str
        As "energy", "snr" or "eigenvalues".

    Returns
    -------
    ndarray of shape (rows, entries)
        Empty of shape (0, 0) where no row has the list.

    Examples
    --------
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

    Examples
    --------
    >>> band_labels([0, 0.2, 1])
    ['0–20', '20–100']
    """
    ends = [f"{100 * edge:g}" for edge in edges]
    return [f"{low}\N{EN DASH}{high}" for low, high in pairwise(ends)]


def number_text(value: Any, style: str) -> str:
    """Write a number for a table.

    Parameters
    ----------
    value : float, list of float, str or None
        A list of two is an interval, a longer one is written entry by entry.
    style : str
        A format of Python for one number; "," for counts.

    Returns
    -------
    str
        A dash where there is nothing.

    Examples
    --------
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

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : iterable of sequences
        Text and numbers.

    Returns
    -------
    str
        Lines that end in a line feed.

    Examples
    --------
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
