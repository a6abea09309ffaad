"""What long work has finished, piece by piece on the disk, so that it goes on where it was interrupted."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from paramgraph.digests import text_digest
from paramgraph.errors import PerformanceWarning
from paramgraph.whole_files import append_line, replacing


class FinishedPieces:
    """Keep one line of JSON for each finished piece, with its checksum, written and forced to the disk at once.

    The first line says, under the name of the `work`, what was asked. A file of other work is refused with a
    ValueError, and stays: nothing is mixed, and nothing lost. Lines that are damaged, as by a machine that went down,
    are named in a PerformanceWarning, and their pieces made again; what cannot be read at all is put aside. Where
    nothing can be written OSError is raised; with `may_fail` the work goes on, and that is said once.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     FinishedPieces(Path(folder, "sums.jsonl"), "addition", {"upto": 9}).append({"piece": 1, "sum": 1})
    ...     FinishedPieces(Path(folder, "sums.jsonl"), "addition", {"upto": 9}).found[0]["sum"]
    1
    """

    def __init__(
        self,
        path: Path,
        work: str,
        asked: Mapping[str, Any],
        *,
        pieces: str = "pieces",
        may_fail: bool = False,
    ) -> None:
        with suppress(OSError):  # what may not even be looked at is said below
            if path.parent.is_file():
                raise ValueError(f"{path.parent} is a file: give a folder")
        self.path, self._work, self._pieces, self._may_fail = path, work, pieces, may_fail
        try:
            self._header = {work: json.loads(json.dumps(asked, allow_nan=False))}
        except ValueError as error:
            raise ValueError(f"what is asked of the {work} must be plain finite values: {error}") from None
        # Which work a line is of, should the first one be lost.
        self._asked = text_digest(json.dumps(self._header))
        self.found: list[dict[str, Any]] = []  # of the same work, as they were added
        self._is_refused = False
        self._open()

    def append(self, piece: Mapping[str, Any]) -> None:
        """Add a finished piece, of plain finite values."""
        line = {**piece, "asked": self._asked}
        with self._keeping():
            self._check_begun()
            append_line(self.path, _line(line), first=_line(self._header))
        self.found.append(line)

    def _check_begun(self) -> None:
        """Raise an OSError where other work has begun the file since it was opened."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            found = (_read_line(file.readline()) or {}).get(self._work)
            if found is not None and found != self._header[self._work]:
                told = _difference(found, self._header[self._work])
                raise FileExistsError(f"another {self._work} ({told}) has begun there meanwhile")

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
        first = lines[0].get(self._work) if lines and lines[0] else None
        if first is not None and first != self._header[self._work]:
            raise ValueError(
                f"{self.path.parent} holds another {self._work} ({_difference(first, self._header[self._work])}): "
                f"give another folder, or remove {self.path.name} in it"
            )
        self.found = [line for line in lines if line and line.get("asked") == self._asked]
        damaged = [str(number) for number, line in enumerate(lines, start=1) if line is None]
        if content and first is None and not self.found:
            names = (self.path.with_suffix(f".unreadable{number or ''}") for number in count())
            aside = next(name for name in names if not name.exists())
            self._say(
                f"{self.path} cannot be read: it is put aside as {aside.name}, and all {self._pieces} are made again"
            )
            with self._keeping():
                self.path.replace(aside)
        elif damaged:
            self._say(f"damaged in {self.path}: line {', '.join(damaged)}; what stood there is made again")
        if content and not self._is_refused and (damaged or not content.endswith(b"\n")):
            with self._keeping(), replacing(self.path) as unfinished:
                unfinished.write_text("".join(f"{_line(one)}\n" for one in (self._header, *self.found)))

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # what was made is still good
            told = f"finished {self._pieces} cannot be kept in {self.path}: {error}"
            if not self._may_fail:
                kept = f"those before, {len(self.found)}," if self.found else "those before"
                raise OSError(
                    f"{told}; {kept} stay, and the same goes on from them where there is room"
                ) from error
            if not self._is_refused:
                self._say(told)
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


def _difference(found: Any, wanted: Any) -> str:  # Any: what JSON holds
    names = _different(found if isinstance(found, Mapping) else {}, wanted)
    return f"of other {', '.join(sorted(names))}"


def _different(found: Any, wanted: Any) -> Iterator[str]:
    """Name what differs, inside of mappings by the innermost name."""
    for name in sorted({*found, *wanted}):
        one, other = found.get(name), wanted.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _different(one, other)
        elif one != other:
            yield name
