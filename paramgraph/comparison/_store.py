"""What a comparison keeps: plain values, and finished layers on disk, so that an interrupted one goes on."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paramgraph.finished_pieces import FinishedPieces

DIGITS = 6
LAYERS_FILE = "layers.jsonl"


def plain(value: Any, digits: int | None = DIGITS) -> Any:  # Any: whatever JSON can hold, and does
    """Turn nested values into what JSON can hold; floats keep six digits, or all, and NaN and infinity are None.

    Scalars and arrays of NumPy and torch are numbers and lists; other objects are a TypeError.

    >>> plain({"share": 1 / 3, "empty": (math.nan, 2)})
    {'share': 0.333333, 'empty': [None, 2]}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(one, digits) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, digits) for one in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), digits)
    if not isinstance(value, float):
        raise TypeError(f"{type(value).__name__} is no number, text, mapping or sequence: {value!r}")
    if not math.isfinite(value):
        return None
    return value if digits is None else float(f"{value:.{digits}g}")


class ComparisonStore:
    """Keep finished layers in `FinishedPieces`, in a folder: what cannot be kept costs the keeping alone."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._kept = FinishedPieces(
            folder / LAYERS_FILE, "comparison", identity, pieces="layers", may_fail=True
        )
        self.path = self._kept.path

    def find(self, layer: str, contents: Mapping[str, str] | None) -> dict[str, Any] | None:
        """Find a finished layer that was made from these contents, and in which nothing failed; None: there is none."""
        whole = (
            line for line in reversed(self._kept.found) if line["layer"] == layer and not line["failures"]
        )
        return next((line for line in whole if contents and line["contents"] == contents), None)

    def append(self, layer: Mapping[str, Any], contents: Mapping[str, str] | None) -> None:
        """Add a finished layer, with its name as "layer" and what it was made from, None where that is not known."""
        self._kept.append({**layer, "contents": contents})
