"""What an interrupted demonstration has finished, on disk, so that the same command goes on."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from paramgraph.digests import text_digest
from paramgraph.whole_files import append_line, replacing, write_text
from spectral_opt.study import RunRecord

WORK, STATE = "work.jsonl", "tuned.safetensors"


class FinishedWork:
    """Keep each finished piece as one line of JSON, with the records of its runs, forced to the disk at once.

    The first line says what the work is of; work of anything else in the folder is begun anew, and `dropped` counts it.
    A line that was cut off is passed over, and its piece done again.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self.folder, self._path, self._state = folder, folder / WORK, folder / STATE
        self._header = {"demonstration": text_digest(json.dumps(asked, sort_keys=True, default=str))}
        lines = _read(self._path)
        is_own = bool(lines) and lines[0] == self._header
        self.known = {line["piece"]: line for line in lines if "piece" in line} if is_own else {}
        self.dropped = 0 if is_own else sum("piece" in line for line in lines)
        if not is_own:
            self.forget()
        folder.mkdir(parents=True, exist_ok=True)
        self._runs: list[dict[str, Any]] = []

    def once(self, piece: str, make: Callable[[], Any]) -> Any:  # Any: plain values
        """Return a piece that is there; else make it, with the runs that it tells by `add_run`, and keep it."""
        if piece not in self.known:
            self._runs = []
            started = time.perf_counter()
            value = make()
            seconds = time.perf_counter() - started
            line = {"piece": piece, "value": value, "runs": self._runs, "seconds": seconds}
            append_line(self._path, json.dumps(line, allow_nan=False), first=json.dumps(self._header))
            # As it would be read: what goes on is what would have been.
            self.known[piece] = json.loads(json.dumps(line))
        return self.known[piece]["value"]

    def state_once(self, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the weights that are there; else make and keep them."""
        if not self.has_state:
            made = make()
            with replacing(self._state) as unfinished:
                # Names may share a tensor, as tied embeddings do, and the format takes none twice.
                save_file({name: value.clone().contiguous() for name, value in made.items()}, unfinished)
        return load_file(self._state)

    @property
    def has_state(self) -> bool:
        """Whether there are weights."""
        return self._state.exists()

    def add_run(self, record: RunRecord) -> None:
        """Add a finished run to the piece that is being made."""
        self._runs.append(asdict(record))

    def write_records(self, path: Path) -> None:
        """Write the records of all runs, one a line."""
        runs = [run for piece in self.known.values() for run in piece["runs"]]
        write_text(path, "".join(json.dumps(run, allow_nan=False) + "\n" for run in runs))

    def forget(self) -> None:
        """Take away what was kept; another file in the folder, and the folder then, stays."""
        for path in (self._path, self._state):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def _read(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
