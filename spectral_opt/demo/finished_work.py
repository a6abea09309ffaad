"""What an interrupted demonstration has finished, on disk, so that the same command goes on."""

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from paramgraph import PerformanceWarning
from paramgraph.finished_pieces import FinishedPieces
from paramgraph.whole_files import replacing, write_text
from spectral_opt.study import RunRecord

WORK, STATE = "work.jsonl", "tuned.safetensors"


class FinishedWork:
    """Keep each finished piece in `FinishedPieces`, with the records of its runs, and the weights that are refined.

    ValueError for a folder with the pieces of other work, by what differs; they stay. OSError where the disk is full:
    the same goes on where there is room. A piece that is damaged is named, and made again.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self.folder, self._state = folder, folder / STATE
        self._kept = FinishedPieces(folder / WORK, "demonstration", asked)
        self.known = {line["piece"]: line for line in self._kept.found}
        self._runs: list[dict[str, Any]] = []
        if self.has_state and not (
            self._state.exists() and _digest(self._state) == self.known[STATE]["value"]
        ):
            warnings.warn(f"{self._state} is damaged: it is made again", PerformanceWarning, stacklevel=2)
            del self.known[STATE]

    def once(self, piece: str, make: Callable[[], Any]) -> Any:  # Any: plain values
        """Return a piece that is there; else make it, with the runs that it tells by `add_run`, and keep it."""
        if piece not in self.known:
            before, self._runs = self._runs, []  # of a piece that this one is made for
            started = time.perf_counter()
            value = make()
            seconds = time.perf_counter() - started
            line = {"piece": piece, "value": value, "runs": self._runs, "seconds": seconds}
            self._runs = before
            self._kept.append(line)
            # As it would be read: what goes on is what would have been.
            self.known[piece] = json.loads(json.dumps(line))
        return self.known[piece]["value"]

    def state_once(self, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the weights that are there; else make and keep them."""

        def written() -> str:
            made = make()
            try:
                with replacing(self._state) as unfinished:
                    # Names may share a tensor, as tied embeddings do, and the format takes none twice.
                    save_file({name: value.clone().contiguous() for name, value in made.items()}, unfinished)
            except SafetensorError as error:  # its own error of a full disk
                raise OSError(
                    f"cannot write {self._state}: {error}; make room and run the same again"
                ) from error
            return _digest(self._state)

        self.once(STATE, written)
        return load_file(self._state)

    @property
    def has_state(self) -> bool:
        """Whether there are weights."""
        return STATE in self.known

    def add_run(self, record: RunRecord) -> None:
        """Add a finished run to the piece that is being made."""
        self._runs.append(asdict(record))

    def write_records(self, path: Path) -> None:
        """Write the records of all runs, one a line."""
        runs = [run for piece in self.known.values() for run in piece["runs"]]
        write_text(path, "".join(json.dumps(run, allow_nan=False) + "\n" for run in runs))

    def forget(self) -> None:
        """Take away what was kept; another file in the folder, and the folder then, stays."""
        for path in (self._kept.path, self._state):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
