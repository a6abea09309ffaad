"""One finished run is one record, a line of JSON that is written at once; results of many are plain values in files."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from paramgraph.environment import hardware, versions
from paramgraph.whole_files import append_line, replacing, write_text

Stage = Literal["tuning", "confirmation", "exploration"]
# What is learned: classes of texts, or the next token.
TaskKind = Literal["classification", "causal-lm"]
CLASSIFICATION: TaskKind = "classification"
CAUSAL_LM: TaskKind = "causal-lm"
# Scores that every state has, more is better.
SCORES: Mapping[TaskKind, tuple[str, ...]] = {
    CLASSIFICATION: ("accuracy", "auc"),
    CAUSAL_LM: ("log_likelihood",),
}


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


SCHEMA = 1
Status = Literal["finished", "diverged"]


@dataclass(frozen=True)
class CellRecord:
    """A cell of a study that was run: a row of plain values, of which others can add their own.

    `metrics` has "points", the state at each factor of its own scaling curve, 1 first: "factor", the scores
    "accuracy", "auc", "balanced_accuracy", "macro_f1" and "loss", what was "lost" of the neighbours, "cosine",
    "drift", and "correct", which texts were right, as hexadecimal digits of packed bits; at factor 1 "probes" too,
    and with an earlier task "earlier", its accuracy. "start" is the same of the start, and "tuned", behind a
    filter, of what it filters. "curve" has "losses", each step's, and where dev was looked at "dev_step",
    "dev_loss", "dev_accuracy" and "dev_cpu_seconds" of training until then. "bands" has by fifth of the spectrum of
    the preserved text's column graphs, low frequencies (strong modes) first, the share of the change's energy.
    `seconds` are of the clock, `cpu_seconds` of the process: "preparing" (graphs, calibration), "training",
    "filter", "measuring"; `peak_megabytes` are of the process until then. A run whose loss was no number, or whose
    logits are none, is "diverged", with `message`, and has no points. `digest` is of the settings that the cell does
    not name itself; `config` has them, and as "left_alone" the matrices that the method does not act on, with reasons.

    Of a language model the scores are "loss", the mean cross-entropy of a next token in nats, and "log_likelihood", its
    negative; "texts" has the loss on each text that forgetting is measured on, and "lost" is the mean over these of
    what it is above the start's; there are neither "cosine", "probes" nor "bands".
    """

    method: str
    task: str
    seed: int
    stage: Stage
    part: str
    shots: int
    options: dict[str, Any]
    after: str | None
    after_options: dict[str, Any]
    status: Status
    digest: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    cpu_seconds: dict[str, float]
    peak_megabytes: float | None
    message: str = ""
    schema: int = SCHEMA
    versions: dict[str, str] = field(default_factory=versions)
    hardware: dict[str, Any] = field(default_factory=hardware)

    @property
    def kind(self) -> TaskKind:
        """What was learned; ValueError where the settings name nothing that there is."""
        settings = self.config.get("settings")
        kind = settings.get("kind", CLASSIFICATION) if isinstance(settings, Mapping) else CLASSIFICATION
        for known in get_args(TaskKind):
            if kind == known:
                return cast(TaskKind, known)
        raise ValueError(
            f"corrupt: its task is of the kind {kind!r}; there are {', '.join(get_args(TaskKind))}"
        )


def write_results(
    results: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], columns: Sequence[str], folder: Path
) -> None:
    """Write plain values to `results.json`, and one row for each number to `results.csv`; never half a file."""
    text = json.dumps(results, indent=1, allow_nan=False)
    write_text(folder / "results.json", text + "\n")
    write_rows(folder / "results.csv", rows, columns)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, whole or not at all; a row without one of the columns has it empty."""
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def append_record(path: Path, record: RunRecord) -> None:
    """Append `record` to the JSON-lines file `path` and force it to the disk."""
    append_line(path, json.dumps(asdict(record), allow_nan=False))
