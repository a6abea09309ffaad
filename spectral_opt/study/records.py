"""One finished run is one record, a line of JSON that is written at once; results of many are plain values in files."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from paramgraph.environment import hardware, versions
from paramgraph.whole_files import append_line, replacing, write_text

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


def write_results(
    results: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], columns: Sequence[str], folder: Path
) -> None:
    """Write plain values to `results.json`, and one row for each number to `results.csv`; never half a file."""
    text = json.dumps(results, indent=1, allow_nan=False)
    write_text(folder / "results.json", text + "\n")
    with (
        replacing(folder / "results.csv") as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def append_record(path: Path, record: RunRecord) -> None:
    """Append `record` to the JSON-lines file `path` and force it to the disk."""
    append_line(path, json.dumps(asdict(record), allow_nan=False))
