"""Run what is left of a study, and say what was done."""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from paramgraph.errors import UnknownNameError
from spectral_opt.study import (
    Cell,
    CellRecord,
    Job,
    StudyPlan,
    open_device,
    read_device,
    read_records,
    record_from_json,
    refuse_shared_names,
    run_job,
    text_checksums,
    write_record,
)
from spectral_opt.study.scheduling._dask_workers import dask_workers
from spectral_opt.study.scheduling._events import Event, MakeWorkers, RunJob
from spectral_opt.study.scheduling._local_workers import local_workers
from spectral_opt.study.scheduling.pace import Pace

# How often a job is tried again whose worker died: a job that kills its worker would do so for ever.
TRIES_MORE = 2


@dataclass
class StudyRun:
    """What a run has done: how many cells it measured, which failed and why, and how many are left of how many.

    `deaths` names workers that died with the job each was at, `stopped` says why it ended before all was done.
    """

    cells: int
    left: int
    measured: int = 0
    diverged: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    stopped: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong: no cell failed, and there was room for all records."""
        return not (self.failures or self.refused or self.stopped.startswith("nothing more"))


def run_study(
    folder: Path,
    plan: StudyPlan,
    *,
    parts: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    workers: int = 2,
    minutes: float | None = None,
    scheduler: str | None = None,
    advance: Callable[[float, str], None] = lambda work, what: None,
    run: RunJob = run_job,
    device: str = "cpu",
) -> StudyRun:
    """Run the cells of a plan that have no record in a study's folder, all, those of some parts, or `only` some keys.

    Jobs run in the plan's order on so many processes (0: in this one), or on the workers of a Dask `scheduler`. After
    `minutes` no cell is started any more. A job whose worker dies is tried again, twice at most; a cell that raises is
    named, and the others go on. `advance` is told what share of the work is done, cells weighed by how long the same
    method took, and what was done. Cells run on a `device`. ValueError says which part or device there is not, and
    which task has a source twice by name.
    """
    if device != "cpu":
        # The workers of a scheduler have it, or have not.
        (open_device if scheduler is None else read_device)(device)
        run = partial(run, device=device)
    for name in parts or ():
        if name not in [part.name for part in plan.parts]:
            raise UnknownNameError.among("part of the study", name, [part.name for part in plan.parts])
    found = read_records(folder, plan)
    jobs = plan.jobs(parts)
    asked = [cell for job in jobs for cell in job.cells if only is None or cell.key in only]
    wanted = {cell.key: cell for cell in asked if cell.key not in found.records}
    make: MakeWorkers = (
        partial(dask_workers, scheduler, plan, run)
        if scheduler is not None
        else partial(local_workers, workers, folder, plan, run)
    )
    result = StudyRun(len(asked), len(wanted), refused=dict(found.refused))
    if not wanted:
        return result
    # A plan that was edited where it lies has been checked by nobody yet.
    for name in {cell.task for cell in wanted.values()}:
        refuse_shared_names(plan, next(task for task in plan.tasks if task.name == name))
    _Running(folder, plan, jobs, found.records, wanted, result, advance).go(make, minutes)
    result.left = len(wanted) - result.measured
    return result


class _Running:
    """A run that is going on."""

    def __init__(
        self,
        folder: Path,
        plan: StudyPlan,
        jobs: Sequence[Job],
        records: Mapping[str, CellRecord],
        wanted: dict[str, Cell],
        result: StudyRun,
        advance: Callable[[float, str], None],
    ) -> None:
        self.folder, self.plan, self.wanted, self.result, self.advance = folder, plan, wanted, result, advance
        self.jobs = {job.name: job for job in jobs}
        self.ahead = deque(job for job in jobs if any(cell.key in wanted for cell in job.cells))
        self.running: set[str] = set()
        self.deaths: Counter[str] = Counter()
        self.pace = Pace(plan, records.values(), list(wanted.values()))
        self.texts = {key: text_checksums(record) for key, record in records.items()}

    def go(self, make: MakeWorkers, minutes: float | None) -> None:
        """Hand out jobs and write down what comes back, until there is no more or it has to stop."""
        until = None if minutes is None else time.monotonic() + 60 * minutes
        with make() as workers:
            while self.ahead or self.running:
                late = until is not None and time.monotonic() >= until
                if late or self.result.stopped:
                    self.ahead.clear()
                while self.ahead and workers.free() > 0:
                    job = self.ahead.popleft()
                    self.running.add(job.name)
                    known = {
                        cell.key: self.texts.get(cell.key, {})
                        for cell in job.cells
                        if not self._is_open(cell)
                    }
                    workers.start(job, known, None if until is None else until - time.monotonic())
                for event in workers.events():
                    self._take(event)
        done = self.result.measured + len(self.result.failures)
        if not self.result.stopped and done < len(self.wanted):
            self.result.stopped = "the time is over: no further cell was started"

    def _is_open(self, cell: Cell) -> bool:
        return cell.key in self.wanted and not self.pace.is_done(cell.key)

    def _take(self, event: Event) -> None:
        job = self.jobs[event.job]
        if event.kind == "record":
            self._record(event)
        elif event.kind == "failure":
            keys = [event.cell] if event.cell else [cell.key for cell in job.cells if self._is_open(cell)]
            self._fail([key for key in keys if self._is_open(self.wanted[key])], event.text, event.trace)
        elif event.kind == "full":
            self._stop(event.text)
        elif event.kind == "died":
            self.running.discard(event.job)
            self.deaths[event.job] += 1
            self.result.deaths.append(f"{event.text}, at {event.job}")
            if self.deaths[event.job] > TRIES_MORE:
                lost = [cell.key for cell in job.cells if self._is_open(cell)]
                self._fail(lost, f"given up after {self.deaths[event.job]} tries, the last: {event.text}", "")
            elif not self.result.stopped:
                self.ahead.appendleft(job)
        else:
            self.running.discard(event.job)

    def _record(self, event: Event) -> None:
        cell = self.wanted[event.cell]
        if self.pace.is_done(cell.key):  # of a worker that was given up too early
            return
        if event.text:
            try:
                write_record(self.folder, cell, record_from_json(event.text))
            except OSError as error:
                self._stop(str(error))
                return
            except ValueError as error:
                self._fail([cell.key], f"{type(error).__name__}: {error}", "")
                return
        self.result.measured += 1
        self.result.diverged += event.diverged
        pace = self.pace
        self.advance(pace.failed(cell) if event.diverged else pace.done(cell, event.seconds), cell.key)

    def _fail(self, keys: Sequence[str], text: str, trace: str) -> None:
        for key in keys:
            self.result.failures[key] = text
            self.result.traces[key] = trace
            self.advance(self.pace.failed(self.wanted[key]), f"failed: {key}")

    def _stop(self, text: str) -> None:
        self.result.stopped = (
            f"nothing more can be written ({text}); what is finished is kept in {self.folder}"
        )
