"""Recorded comparisons held against themselves, and random cells of them measured again and held against the record.

Only what was measured, and came out the same, agrees. A record that cannot be read, a summary that is not that of its
cells, a cell without numbers and a command that does not measure the cell are differences as a number that is off is.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paramgraph._checks import is_finite, is_number, is_whole
from paramgraph.comparison._store import plain
from paramgraph.comparison._summary import holm, summarize
from paramgraph.comparison.result import Comparison
from paramgraph.errors import one_line

# What must come out again, and how far another machine may be off: gradients in float32 differ in the last of their
# seven digits between processors, and neighbours that are as near as that may change places.
TOLERANCES: dict[str, tuple[float, float]] = {  # relative, absolute
    "nodes": (0.0, 0.0),
    "modes": (0.0, 0.0),
    "edges": (2e-3, 0.0),
    "components": (0.0, 1.0),
    "compaction": (0.0, 2e-3),
    "compaction_permuted": (0.0, 1e-3),
    "compaction_rotated": (0.0, 1e-6),
    "energy_low": (0.0, 2e-3),
    "energy_high": (0.0, 2e-3),
    "z_score": (1e-2, 0.05),
    "p_value": (0.0, 0.02),
    "lift_low": (0.0, 1e-2),
    "gain": (0.0, 1e-2),
    "edge_stability": (0.0, 1e-2),
}
# Without these nothing was measured.
NUMBERS = ("nodes", "edges", "components", "compaction")
KEYS = ("layer", "construction", "seed")
# What says the same of a cell on every machine.
WORDS = ("scheme", "builder", "source", "null", "circular", "shift")
# How a cell is measured; the command that measures it again must say the same.
SETTINGS = (
    "model",
    "scheme",
    "targets",
    "signal",
    "bands",
    "share",
    "nulls",
    "permutations",
    "modes",
    "shift",
)
# Sums and means of cells, of which a record keeps six digits.
ROUNDING = (1e-4, 1e-6)
# Pooled from what a record leaves out, unless there is but one cell.
POOLED_OTHERWISE = (
    *("p_value", "p_holm", "snr", "lift_low", "lift_low_low", "lift_low_high", "lift_low_permuted"),
    *("gain", "gain_low", "gain_high", "gain_permuted"),
)

Rerun = Callable[[Comparison, Mapping[str, Any]], Comparison]


def verify_records(path: str | Path, cells: int, seed: int, rerun: Rerun) -> list[dict[str, Any]]:
    """Check records, a file of `Comparison.to_json` or a folder of them, and measure random cells of theirs again.

    `rerun(record, cell)` measures the record's layer, construction and seed. Each drawn cell, all with the same
    probability, gives a row: `cell` (record, layer, construction, seed), `agrees`, and `differences`, which names each
    number that is off, with what was recorded and what came out. A file that is no record, or contradicts itself, gives
    a row as well, ahead of these. A ValueError if there are no files, or fewer cells than are asked for.
    """
    found, every = [], []
    for name, record in read_records(path).items():
        if isinstance(record, ValueError):
            found.append(_row(name, [str(record)]))
            continue
        problems = list(_contradictions(record))
        found += [_row(name, problems)] if problems else []
        every += [(name, record, cell) for cell in record.cells if not _lacking(cell)]
    if cells < 1 or (cells > len(every) and not found):
        raise ValueError(f"{path} has {len(every)} cells, so 1 to {len(every)} can be drawn; got {cells}")
    count = min(cells, len(every))
    chosen = (
        np.random.default_rng(seed).choice(len(every), size=count, replace=False) if count else np.array([])
    )
    drawn = [every[int(number)] for number in sorted(chosen.tolist())]
    return found + [_verified(name, record, cell, rerun) for name, record, cell in drawn]


def read_records(path: str | Path) -> dict[str, Comparison | ValueError]:
    """Read the JSON files of a folder, or one file, by their names; what is no comparison comes as the error why.

    No file at all is a ValueError.
    """
    place = Path(path).expanduser()
    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    found: dict[str, Comparison | ValueError] = {}
    for file in files:
        try:
            found[file.name] = Comparison.from_json(file)
        except ValueError as error:
            found[file.name] = error
        except OSError as error:
            if not place.is_dir():
                raise ValueError(
                    f"no record {place}: {error.strerror}; give a comparison.json, or a folder of them"
                ) from None
            found[file.name] = ValueError(f"it cannot be read: {error.strerror}")
    if not found:
        raise ValueError(
            f"{place} holds no record of a comparison: give a comparison.json, or a folder of them"
        )
    return found


def _contradictions(record: Comparison) -> Iterator[str]:
    """Say what in a record is lacking, is there twice, or is not what its own cells give."""
    lacking = [name for name in (*SETTINGS, "seeds", "command") if name not in record.setting]
    if lacking:
        yield f"its setting lacks {', '.join(lacking)}"
    if not record.cells:
        yield "it has no cells: nothing was measured"
    for number, cell in enumerate(record.cells):
        if reason := _lacking(cell):
            yield f"cell {number} {reason}"
    whole = [cell for cell in record.cells if not _lacking(cell)]
    for key, times in Counter(_key(cell) for cell in whole).items():
        if times > 1:
            yield f"{_told(key)} is there {times} times"
    names = [one.get("name") for one in record.constructions]
    seeds = record.setting.get("seeds")
    if seeds is not None and not isinstance(seeds, list | tuple):
        yield f"its seeds are no list: {seeds!r}"
        seeds = None
    for key in (_key(cell) for cell in whole):
        if key[1] not in names:
            yield f"{_told(key)} is of no construction that is listed"
        if seeds is not None and key[2] not in seeds:
            yield f"{_told(key)} is of no seed that is listed"
    if len(whole) == len(record.cells) and not lacking:
        yield from _other_summary(record)


def _other_summary(record: Comparison) -> Iterator[str]:
    """Pool the cells again, and say where the summary is another."""
    try:
        pooled = {row["construction"]: row for row in summarize(record.constructions, record.cells)}
        rows = {row["construction"]: row for row in record.summary_rows}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        yield f"its cells cannot be pooled ({type(error).__name__}: {error})"
        return
    if list(rows) != list(pooled) or len(record.summary_rows) != len(rows):
        yield f"its summary is of {', '.join(map(str, rows)) or 'nothing'}, its cells are of {', '.join(pooled)}"
        return
    for name, row in rows.items():
        own = [cell for cell in record.cells if cell["construction"] == name]
        wanted = {key: value for key, value in pooled[name].items() if key not in POOLED_OTHERWISE}
        tolerances = dict.fromkeys(wanted, ROUNDING)
        if len(own) == 1 and not row.get("circular"):
            alone = [key for key in ("p_value", "lift_low", "gain") if key in own[0]]
            wanted |= {key: own[0][key] for key in alone}
            # Permutations are counted before and after rounding.
            tolerances |= {key: TOLERANCES[key] for key in alone}
        for key, value in wanted.items():
            if key not in row or not _alike(row[key], value, *tolerances[key]):
                yield f"{key} of {name} is {row.get(key)} in the summary, {value} by the cells"
        if (row.get("p_value") is None) != (
            row.get("circular") or all(one.get("p_value") is None for one in own)
        ):
            yield f"p_value of {name} is {row.get('p_value')} in the summary, which its cells do not give"
    tested = [row for row in rows.values() if is_number(row.get("p_value"))]
    for row, corrected in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        if not _alike(row.get("p_holm"), corrected, *ROUNDING):
            yield f"p_holm of {row['construction']} is {row.get('p_holm')}, by Holm it is {corrected:.6g}"


def _verified(name: str, record: Comparison, cell: Mapping[str, Any], rerun: Rerun) -> dict[str, Any]:
    told = f"{name}: {_told(_key(cell))}"
    try:
        measured = rerun(record, cell)
    except Exception as error:  # opening models and texts raises what it likes
        return _row(told, [f"it cannot be measured again: {one_line(error)}"])
    again = next((one for one in measured.cells if _key(one) == _key(cell)), None)
    if again is None or _lacking(again):
        failed = [
            one["error"] for one in measured.failures if one["construction"] in (cell["construction"], "*")
        ]
        return _row(told, [f"nothing was measured{f': {failed[0]}' if failed else ''}"])
    return _row(
        told,
        [
            *_other_setting(record.setting, measured.setting),
            *_differences(_with_null(record, cell), _with_null(measured, again)),
        ],
    )


def _with_null(record: Comparison, cell: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a cell whether its construction is a null model, which stands with the construction."""
    own = (one.get("null") for one in record.constructions if one.get("name") == cell["construction"])
    return {**cell, "null": next(own, None)}


def _other_setting(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    """Say where the command of a record measures otherwise than the record says."""
    for name in SETTINGS:
        first, second = plain(recorded.get(name)), plain(again.get(name))
        if name in recorded and first != second:
            yield f"{name} {first} recorded, {second} by the command"


def _differences(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    for name in WORDS:
        if recorded.get(name) != again.get(name):
            yield f"{name} {recorded.get(name)} recorded, {again.get(name)} now"
    for name, tolerances in TOLERANCES.items():
        if not _alike(recorded.get(name), again.get(name), *tolerances):
            yield f"{name} {recorded.get(name)} recorded, {again.get(name)} now"


def _alike(first: Any, second: Any, relative: float, absolute: float) -> bool:
    """Tell whether two values of a record agree; two that are no number do not, unless neither was measured."""
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(_alike(a, b, relative, absolute) for a, b in pairs)
    if is_number(first) and is_number(second):
        finite = is_finite(first) and is_finite(second)
        return finite and math.isclose(first, second, rel_tol=relative, abs_tol=absolute)
    return type(first) is type(second) and bool(first == second)


def _lacking(cell: Any) -> str:
    """Say why there is nothing in a cell that could be measured again; "" where there is."""
    if not isinstance(cell, Mapping):
        return f"is no cell: {cell!r}"
    keys = (
        isinstance(cell.get("layer"), str),
        isinstance(cell.get("construction"), str),
        is_whole(cell.get("seed")),
    )
    if not all(keys):
        return (
            f"does not say its {', '.join(name for name, known in zip(KEYS, keys, strict=True) if not known)}"
        )
    none = [name for name in NUMBERS if not is_number(cell.get(name)) or not is_finite(cell[name])]
    wrong = [name for name in TOLERANCES if cell.get(name) is not None and not is_number(cell[name])]
    if none or wrong:
        return f"({_told(_key(cell))}) has no number for {', '.join(dict.fromkeys([*none, *wrong]))}"
    return ""


def _key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[name] for name in KEYS)


def _told(key: Sequence[Any]) -> str:
    layer, construction, seed = key
    return f"{construction}, {layer}, seed {seed}"


def _row(told: str, differences: Sequence[str]) -> dict[str, Any]:
    return {"cell": told, "agrees": not differences, "differences": "; ".join(differences)}
