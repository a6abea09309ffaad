"""What a comparison keeps: plain values, and finished layers on disk, so that an interrupted one goes on."""

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from paramgraph.digests import text_digest
from paramgraph.errors import PerformanceWarning
from paramgraph.whole_files import append_line, replacing

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
    """Keep one line of JSON for each finished layer, with its checksum, written and forced to the disk at once.

    The first line says what was asked. A folder that holds another comparison is refused: nothing is mixed. Lines that
    are damaged, as by a machine that went down, are named in a PerformanceWarning and their layers measured again; what
    cannot be read at all is put aside. Where nothing can be written the comparison goes on, and that is said once.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        with suppress(OSError):  # what may not even be looked at is said below
            if folder.is_file():
                raise ValueError(f"{folder} is a file: give a folder")
        self.path = folder / LAYERS_FILE
        self._header = {"comparison": json.loads(json.dumps(identity))}
        # Which comparison a line is of, should the first one be lost.
        self._asked = text_digest(json.dumps(self._header))
        self._layers: list[dict[str, Any]] = []
        self._is_refused = False
        self._open()

    def find(self, layer: str, contents: Mapping[str, str] | None) -> dict[str, Any] | None:
        """Find a finished layer that was made from these contents, and in which nothing failed; None: there is none."""
        whole = (line for line in reversed(self._layers) if line["layer"] == layer and not line["failures"])
        return next((line for line in whole if contents and line["contents"] == contents), None)

    def append(self, layer: Mapping[str, Any], contents: Mapping[str, str] | None) -> None:
        """Add a finished layer, with its name as "layer" and what it was made from, None where that is not known."""
        line = {**layer, "contents": contents, "asked": self._asked}
        self._layers.append(line)
        with self._keeping():
            append_line(self.path, _line(line), first=_line(self._header))

    def _open(self) -> None:
        """Read what is there, and leave the file such that lines can be added to it."""
        content = b""
        with self._keeping():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            content = self.path.read_bytes() if self.path.exists() else b""
        if self._is_refused:
            return
        texts = content.split(b"\n")
        texts = texts if texts[-1] else texts[:-1]  # behind the last end of line there is nothing
        lines = [_read_line(text) for text in texts]
        first = lines[0].get("comparison") if lines and lines[0] else None
        if first is not None and first != self._header["comparison"]:
            raise ValueError(
                f"{self.path.parent} holds another comparison ({_difference(first, self._header['comparison'])}): give "
                f"another folder, or remove {self.path.name} in it"
            )
        self._layers = [line for line in lines if line and line.get("asked") == self._asked]
        damaged = [str(number) for number, line in enumerate(lines, start=1) if line is None]
        if content and first is None and not self._layers:
            names = (self.path.with_suffix(f".unreadable{number or ''}") for number in count())
            aside = next(name for name in names if not name.exists())
            self._say(
                f"{self.path} cannot be read: it is put aside as {aside.name}, and all layers are measured"
            )
            with self._keeping():
                self.path.replace(aside)
        elif damaged:
            self._say(
                f"damaged in {self.path}: line {', '.join(damaged)}; what stood there is measured again"
            )
        if not content:  # or another process has begun it by now
            with self._keeping(), suppress(FileExistsError), self.path.open("x", encoding="utf-8") as file:
                file.write(f"{_line(self._header)}\n")
        elif not self._is_refused and (damaged or not content.endswith(b"\n")):
            with self._keeping(), replacing(self.path) as unfinished:
                unfinished.write_text("".join(f"{_line(one)}\n" for one in (self._header, *self._layers)))

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # what was measured is still good
            if not self._is_refused:
                self._say(f"finished layers cannot be kept in {self.path}: {error}")
            self._is_refused = True

    def _say(self, text: str) -> None:
        warnings.warn(text, PerformanceWarning, stacklevel=2)


def _line(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, allow_nan=False)
    return json.dumps({**value, "checksum": text_digest(text)})


def _read_line(text: bytes) -> dict[str, Any] | None:
    """Read a line as it was written; None if it is not."""
    try:
        value = json.loads(text)
        checksum = value.pop("checksum")
        return value if checksum == text_digest(json.dumps(value)) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    return f"of other {', '.join(names)}"
