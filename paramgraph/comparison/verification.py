"""Random cells of recorded comparisons, measured again and held against the record."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paramgraph.comparison.result import Comparison

# What must come out again, and how far another machine may be off: gradients in float32 differ in the last of their
# seven digits between processors, and neighbours that are as near as that may change places.
TOLERANCES: dict[str, tuple[float, float]] = {  # relative, absolute
    "nodes": (0.0, 0.0),
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

Rerun = Callable[[Comparison, Mapping[str, Any]], Comparison]


def verify_records(path: str | Path, cells: int, seed: int, rerun: Rerun) -> list[dict[str, Any]]:
    """Measure random cells of records, a file of `Comparison.to_json` or a folder of them, again.

    `rerun(record, cell)` measures the record's layer, construction and seed. Each drawn cell, all with the same
    probability, gives a row: `cell` (record, layer, construction, seed), `agrees`, and `differences`, which names each
    number that is off, with what was recorded and what came out. A ValueError if there are no records, or fewer cells.
    """
    records = read_records(path)
    every = [(name, record, cell) for name, record in records.items() for cell in record.cells]
    if not 1 <= cells <= len(every):
        raise ValueError(f"{path} has {len(every)} cells, so 1 to {len(every)} can be drawn; got {cells}")
    chosen = np.random.default_rng(seed).choice(len(every), size=cells, replace=False)
    drawn = [every[number] for number in sorted(chosen.tolist())]
    return [_verified(name, record, cell, rerun) for name, record, cell in drawn]


def read_records(path: str | Path) -> dict[str, Comparison]:
    """Read recorded comparisons by the name of their file; other files of a folder are left alone.

    No record at all is a ValueError.
    """
    place = Path(path)
    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    found: dict[str, Comparison] = {}
    for file in files:
        try:
            found[file.name] = Comparison.from_json(file)
        except ValueError:
            if not place.is_dir():
                raise
        except OSError as error:
            raise ValueError(
                f"no record {place}: {error.strerror}; give a comparison.json, or a folder of them"
            ) from None
    if not found:
        raise ValueError(
            f"{place} holds no record of a comparison: give a comparison.json, or a folder of them"
        )
    return found


def _verified(name: str, record: Comparison, cell: Mapping[str, Any], rerun: Rerun) -> dict[str, Any]:
    told = f"{name}: {cell['construction']}, {cell['layer']}, seed {cell['seed']}"
    again = next(
        (
            one
            for one in rerun(record, cell).cells
            if all(one[key] == cell[key] for key in ("layer", "construction", "seed"))
        ),
        None,
    )
    if again is None:
        return {"cell": told, "agrees": False, "differences": "nothing was measured"}
    differences = _differences(cell, again)
    return {"cell": told, "agrees": not differences, "differences": "; ".join(differences)}


def _differences(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Sequence[str]:
    return [
        f"{name} {recorded[name]} recorded, {again.get(name)} now"
        for name, (relative, absolute) in TOLERANCES.items()
        if name in recorded and not _agree(recorded[name], again.get(name), relative, absolute)
    ]


def _agree(first: float | None, second: float | None, relative: float, absolute: float) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=relative, abs_tol=absolute)
