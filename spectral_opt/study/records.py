"""One finished run is one record: what ran, on what, with which result; a line of JSON, written at once."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from paramgraph.environment import hardware, versions

Stage = Literal["tuning", "confirmation", "exploration"]


@dataclass(frozen=True)
class RunRecord:
    """A finished run: what ran, all that was set, and plain numbers that were measured.

    Only a run of the stage "confirmation" may carry a claim. Versions and hardware are those of the running
    machine.
    """

    method: str
    task: str
    seed: int
    config: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    stage: Stage
    versions: dict[str, str] = field(default_factory=versions)
    hardware: dict[str, Any] = field(default_factory=hardware)


def append_record(path: Path, record: RunRecord) -> None:
    """Append `record` to the JSON-lines file `path` and force it to the disk."""
    line = json.dumps(asdict(record), allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
