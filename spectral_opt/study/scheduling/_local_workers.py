"""Processes of this machine, of one thread each, or the calling process; they write their records themselves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from paramgraph.workers import Death, WorkerProcesses
from spectral_opt.study import STATES, Cell, CellRecord, Job, StudyPlan, write_record
from spectral_opt.study.scheduling._events import Event, Known, RunJob, Workers, work_through


class LocalWorkers:
    """So many processes, started as they are needed and anew where one died."""

    def __init__(self, number: int, folder: Path, plan: StudyPlan, run: RunJob) -> None:
        self._processes = WorkerProcesses(number, _work, (folder, plan, run))
        self.free, self.stop = self._processes.free, self._processes.stop

    def start(self, job: Job, known: Known, seconds: float | None) -> None:
        """Have one run a job."""
        self._processes.start(job.name, (job, known, seconds))

    def events(self) -> Iterator[Event]:
        """Give what has happened, after a second at most; last words come before the death of who said them."""
        for job, said in self._processes.heard():
            yield Event("died", job, text=said.how) if isinstance(said, Death) else said


class OwnProcess:
    """The calling process, for a debugger: a job is run as it is started."""

    def __init__(self, folder: Path, plan: StudyPlan, run: RunJob) -> None:
        self._arguments = (folder, plan, run)
        self._told: list[Event] = []

    def free(self) -> int:
        """Count 1 where all is told of the job before."""
        return int(not self._told)

    def start(self, job: Job, known: Known, seconds: float | None) -> None:
        """Run a job."""
        folder, plan, run = self._arguments
        work_through(
            run, plan, job, known, seconds, folder / STATES, partial(_keep, folder), self._told.append
        )

    def events(self) -> Iterator[Event]:
        """Give what has happened."""
        yield from self._told
        self._told.clear()


@contextmanager
def local_workers(number: int, folder: Path, plan: StudyPlan, run: RunJob) -> Iterator[Workers]:
    """Start processes and end them, however the block is left; 0 is the calling one."""
    if number == 0:
        yield OwnProcess(folder, plan, run)
        return
    workers = LocalWorkers(number, folder, plan, run)
    try:
        yield workers
    finally:
        workers.stop()


def _work(
    tell: Callable[[Event], object],
    message: tuple[Job, Known, float | None],
    folder: Path,
    plan: StudyPlan,
    run: RunJob,
) -> None:
    job, known, seconds = message
    work_through(run, plan, job, known, seconds, folder / STATES, partial(_keep, folder), tell)


def _keep(folder: Path, cell: Cell, record: CellRecord) -> str:
    write_record(folder, cell, record)
    return ""
