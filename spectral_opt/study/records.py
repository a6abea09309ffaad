"""One finished run is one record: what ran, on what, with which result; a line of JSON, written at once."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from paramgraph.environment import hardware, versions


@dataclass(frozen=True)
class RunRecord:
    """A finished run.

    Parameters
    ----------
    method : str
        Name of the method.
    task : str
        Name of the data set.
    seed : int
        Seed of split, batches and dropout.
    config : dict
        All that was set: learning rate, steps, batch size, the spectral configurations.
    metrics : dict
        What was measured; plain numbers and lists of numbers.
    seconds : float
        Wall-clock time of the run.
    stage : {"tuning", "confirmation", "exploration"}
        What the run was for; only a confirmation may carry a claim.
    versions, hardware : dict
        Filled in from the running machine.
    """

    method: str
    task: str
    seed: int
    config: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    stage: Literal["tuning", "confirmation", "exploration"]
    versions: dict[str, str] = field(default_factory=versions)
    hardware: dict[str, Any] = field(default_factory=hardware)


def append_record(path: Path, record: RunRecord) -> None:
    """Append `record` to the JSON-lines file `path` and force it to the disk."""
    line = json.dumps(asdict(record), allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
