"""Finished layers of a comparison on disk, so that an interrupted one goes on where it was."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "layers.jsonl"


class ComparisonStore:
    """Keep one line of JSON for each finished layer, written and forced to the disk at once.

    The first line says what is compared. A folder that holds another comparison is refused: nothing is mixed, and
    nothing overwritten. A last line that was cut off, as by a machine that went down, is measured again.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    identity : mapping
        Everything that decides the numbers, as plain values.

    Raises
    ------
    ValueError
        If the folder holds another comparison, or one that cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ComparisonStore(Path(folder), {"seed": 0}).append({"layer": "first", "weights": "abc"})
    ...     again = ComparisonStore(Path(folder), {"seed": 0})
    ...     list(again.finished)
    ['first']
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.path = folder / FILE
        self.finished: dict[str, dict[str, Any]] = {}
        plain = json.loads(json.dumps(identity))
        folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists() or not self.path.stat().st_size:
            self._write({"comparison": plain}, "w")
            return
        lines = list(self._lines())
        found = lines[0].get("comparison") if isinstance(lines[0], dict) else None
        if found != plain:
            what = _difference(found, plain) if isinstance(found, dict) else "it is no comparison"
            raise ValueError(
                f"{folder} holds another comparison ({what}): give another folder, or remove {self.path.name} in it"
            )
        for line in lines[1:]:
            self.finished[line["layer"]] = line
        self._drop_cut_off_line()

    def append(self, layer: Mapping[str, Any]) -> None:
        """Add a finished layer.

        Parameters
        ----------
        layer : mapping
            With its name as "layer"; NaN is written as null.
        """
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
