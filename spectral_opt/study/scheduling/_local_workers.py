"""Processes of this machine, of one thread each, or the calling process; they write their records themselves."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from spectral_opt.study import STATES, Cell, CellRecord, Job, StudyPlan, write_record
from spectral_opt.study.scheduling._events import Event, RunJob, Workers, work_through

# Read as libraries load: spinning threads, and more of them than cores, cost five times the work they do; and with
# another number of threads sums round otherwise. Bars of libraries would write over the one of the run, and a
# process that is ended would leave their locks behind.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
# Seconds for which one loop waits at most: a bar and a deadline are looked at in between.
WAIT = 1.0


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: Job | None = None


class LocalWorkers:
    """So many processes, started as they are needed and anew where one died."""

    def __init__(self, number: int, folder: Path, plan: StudyPlan, run: RunJob) -> None:
        self._number, self._arguments = number, (folder, plan, run)
        self._context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._workers: list[_Worker] = []

    def free(self) -> int:
        """Count those that have nothing to do."""
        return self._number - sum(worker.job is not None for worker in self._workers)

    def start(self, job: Job, known: Sequence[str], seconds: float | None) -> None:
        """Have one run a job."""
        idle = next((worker for worker in self._workers if worker.job is None), None) or self._new()
        idle.job = job
        try:
            idle.connection.send((job, known, seconds))
        except OSError:  # it died while it had nothing to do; `events` says so
            return

    def events(self) -> Iterator[Event]:
        """Give what has happened, after a second at most; last words come before the death of who said them."""
        ready = wait(
            [one for worker in self._workers for one in (worker.connection, worker.process.sentinel)], WAIT
        )
        for worker in list(self._workers):
            if worker.connection not in ready and worker.process.sentinel not in ready:
                continue
            dead = worker.process.sentinel in ready
            yield from self._heard(worker)
            if dead:
                self._workers.remove(worker)
                worker.process.join()
                if worker.job is not None:
                    yield Event("died", worker.job.name, text=_death(worker.process))

    def stop(self) -> None:
        """End all; what they are measuring is lost."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    def _heard(self, worker: _Worker) -> Iterator[Event]:
        try:
            while worker.connection.poll():
                event: Event = worker.connection.recv()
                if event.kind == "finished":
                    worker.job = None
                yield event
        except (EOFError, OSError):
            return

    def _new(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        before = {name: os.environ.get(name) for name in ENVIRONMENT}
        os.environ.update(ENVIRONMENT)  # a process inherits what is there as it starts
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker


class OwnProcess:
    """The calling process, for a debugger: a job is run as it is started."""

    def __init__(self, folder: Path, plan: StudyPlan, run: RunJob) -> None:
        self._arguments = (folder, plan, run)
        self._told: list[Event] = []

    def free(self) -> int:
        """Count 1 where all is told of the job before."""
        return int(not self._told)

    def start(self, job: Job, known: Sequence[str], seconds: float | None) -> None:
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


def _serve(connection: Connection, folder: Path, plan: StudyPlan, run: RunJob) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all; the parent decides
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    keep = partial(_keep, folder)
    while True:
        try:
            job, known, seconds = connection.recv()
        except EOFError:
            return
        work_through(run, plan, job, known, seconds, folder / STATES, keep, connection.send)


def _keep(folder: Path, cell: Cell, record: CellRecord) -> str:
    write_record(folder, cell, record)
    return ""


def _end_with_the_parent() -> None:
    """End at once where the parent is killed: the next run must find nobody at work in its folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _death(process: SpawnProcess) -> str:
    code = process.exitcode
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return f"process {process.pid}, {how}"
