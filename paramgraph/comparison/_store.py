"""What a comparison keeps: plain values, and finished layers on disk, so that an interrupted one goes on."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
    """Keep one line of JSON for each finished layer, written and forced to the disk at once.

    The first line says what is compared, by everything that decides the numbers. A folder that holds another
    comparison is refused: nothing is mixed, and nothing overwritten. A last line that was cut off, as by a machine
    that went down, is measured again.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.path = folder / LAYERS_FILE
        self.finished: dict[str, dict[str, Any]] = {}
        wanted = json.loads(json.dumps(identity))
        folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists() or not self.path.stat().st_size:
            self._write({"comparison": wanted}, "w")
            return
        lines = list(self._lines())
        found = lines[0].get("comparison") if isinstance(lines[0], dict) else None
        if found != wanted:
            what = _difference(found, wanted) if isinstance(found, dict) else "it is no comparison"
            raise ValueError(
                f"{folder} holds another comparison ({what}): give another folder, or remove {self.path.name} in it"
            )
        for line in lines[1:]:
            self.finished[line["layer"]] = line
        self._drop_cut_off_line()

    def append(self, layer: Mapping[str, Any]) -> None:
        """Add a finished layer, with its name as "layer"."""
        self.finished[layer["layer"]] = dict(layer)
        self._write(layer, "a")

    def _lines(self) -> Iterator[dict[str, Any]]:
        for number, text in enumerate(self.path.read_text(encoding="utf-8").splitlines()):
            try:
                yield json.loads(text)
            except ValueError:
                if number == 0:
                    raise ValueError(
                        f"{self.path} cannot be read: remove it, or give another folder"
                    ) from None
                return  # cut off while it was written

    def _drop_cut_off_line(self) -> None:
        """Drop it from the file, so that the next one does not grow onto it."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        # A layer that was measured again has several lines, of which the last one counts.
        whole = lines[: len(list(self._lines()))]
        if len(whole) < len(lines) or not self.path.read_bytes().endswith(b"\n"):
            part = self.path.with_suffix(".part")
            part.write_text("\n".join(whole) + "\n", encoding="utf-8")
            part.replace(self.path)

    def _write(self, value: Mapping[str, Any], mode: str) -> None:
        with self.path.open(mode, encoding="utf-8") as file:
            file.write(json.dumps(value, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    return f"of other {', '.join(names)}"
