"""Jobs that measure nothing: what a study's scheduling does with cells that die, raise, wait and fill the disk.

They run in processes of their own, so what they do is written down in a folder: a line for each cell that began.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectral_opt.study import (
    AfterGrid,
    Cell,
    CellRecord,
    Job,
    MethodGrid,
    Part,
    StudyPlan,
    StudyTask,
    record_of,
)


@dataclass(frozen=True)
class FakeJob:
    """Stands in for `run_job`. Words of `dies`, `raises` and `diverges` are looked for in a cell's key.

    A cell dies so many `deaths`, then it lives; `seconds` is what each takes; `broken` fails before any cell. Each has
    `measured` the same, under one `config`.
    """

    log: Path
    dies: str = "no such cell"
    deaths: int = 1
    raises: str = "no such cell"
    diverges: str = "no such cell"
    infinite: str = "no such cell"
    broken: str = "no such cell"
    seconds: float = 0.0
    measured: Mapping[str, Any] = field(default_factory=lambda: states(0.5))
    config: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        plan: StudyPlan,
        job: Job,
        *,
        known: Mapping[str, Mapping[str, str]],
        states: Path | None,
        on_record: Callable[[Cell, CellRecord], object],
        on_failure: Callable[[Cell, Exception], object],
    ) -> None:
        if self.broken in job.name:
            raise OSError("the text of the task is gone")
        for cell in job.cells:
            if cell.key in known:
                continue
            with self.log.open("a") as file:
                file.write(f"{cell.key}\n")
            time.sleep(self.seconds)
            if self.dies in cell.key and self.log.read_text().splitlines().count(cell.key) <= self.deaths:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.raises in cell.key:
                on_failure(cell, RuntimeError(f"nothing comes\nof {cell.method}"))
            else:
                on_record(cell, self.record(plan, job, cell))

    def record(self, plan: StudyPlan, job: Job, cell: Cell) -> CellRecord:
        measured = states(float("inf")) if self.infinite in cell.key else dict(self.measured)
        diverged = self.diverges in cell.key
        return record_of(
            cell,
            status="diverged" if diverged else "finished",
            digest=plan.task_digest(job),
            config=dict(self.config),
            metrics={} if diverged else measured,
            seconds=self.seconds or 2.0,
            cpu_seconds={},
            peak_megabytes=None,
            message="the loss is nan" if diverged else "",
            versions={},
            hardware={},
        )

    def begun(self) -> list[str]:
        """The keys of the cells that began, in their order."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def states(score: float) -> dict[str, Any]:
    """What a record has of the start and of its one state, which has this AUC."""
    state = {"accuracy": 0.5, "auc": score, "lost": 0.0}
    return {"start": state | {"auc": 0.5}, "points": [{"factor": 1.0, **state}]}


def small_plan(seeds: int = 2) -> StudyPlan:
    """A plan of four cells a seed: two fine-tunes, and two filters of one of them."""
    task = StudyTask("films", "rotten_tomatoes", ("sotu",), "plots", "bbc")
    methods = tuple(MethodGrid(name, {"learning_rate": (1e-4,)}) for name in ("adamw", "l2sp"))
    after = (AfterGrid("product", ("adamw",), {"strength": (0.3, 1.0)}),)
    part = Part("one", "exploration", ("films",), (16,), tuple(range(seeds)), methods, after)
    return StudyPlan("A small study", "all-MiniLM-L6-v2", (task,), (part,))
