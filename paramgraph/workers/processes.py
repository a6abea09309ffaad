"""Processes of this machine, of one thread each: begun as they are needed, and anew where one died."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from paramgraph.workers.one_thread import ONE_THREAD, alone_on_one_thread, in_environment

# Seconds for which one loop waits at most: a bar and a deadline are looked at in between.
WAIT = 1.0
# What a worker does with a message: called with `tell`, the message, and what all of them are given. Any: whatever
# can be sent, and who hands out the work knows.
Work = Callable[..., object]


@dataclass(frozen=True)
class Death:
    """The end of a process at its task, and how it came; one that `never_began` ended by itself as it started."""

    how: str
    never_began: bool = False


class _Begun:
    """First word of a worker: it could import what it needs."""


class _Done:
    """Last word of a worker on a task."""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: str | None = None
    has_begun: bool = False


class WorkerProcesses:
    """So many processes, each of which calls `work(tell, message, *arguments)` for each message that it is sent.

    `work` and all that is sent or told must be picklable. An exception that `work` raises ends its process. Where a
    `module` is named, on Linux all come of one process that has imported it, and done nothing else: torch and PyG would
    take each of them seconds, and a third of a gigabyte. That one stays for who comes later.
    """

    def __init__(
        self, number: int, work: Work, arguments: tuple[Any, ...] = (), module: str | None = None
    ) -> None:
        self._number, self._serve = number, (work, arguments)
        # Elsewhere a system's own libraries may have threads that no fork has. The calling process is never forked:
        # torch's threads do not survive that. Any: what makes processes has no type that is known everywhere.
        self._module = module if sys.platform == "linux" else None
        self._context: Any = multiprocessing.get_context("forkserver" if self._module else "spawn")
        self._workers: list[_Worker] = []

    def make_ready(self) -> None:
        """Begin to import the module, beside what the caller does next."""
        if self._module is None:
            return
        from multiprocessing import forkserver  # there is none on Windows

        self._context.set_forkserver_preload([self._module])
        # Before Python 3.13 it does not look where the calling process does, and might find another version.
        with in_environment(ONE_THREAD | {"PYTHONPATH": os.pathsep.join(sys.path)}):
            forkserver.ensure_running()

    def free(self) -> int:
        """Count those that have nothing to do."""
        return self._number - sum(worker.task is not None for worker in self._workers)

    def start(self, task: str, message: Any) -> None:  # Any: what `work` takes
        """Send one of them a message; `task` is what it is called."""
        idle = next((worker for worker in self._workers if worker.task is None), None) or self._new()
        idle.task = task
        try:
            idle.connection.send(message)
        except OSError:  # it died while it had nothing to do; `heard` says so
            return

    def heard(self) -> Iterator[tuple[str, Any]]:  # Any: what `work` tells, or a `Death`
        """Give what was told, with its task, after a second at most; last words come before the death."""
        ready = wait(
            [one for worker in self._workers for one in (worker.connection, worker.process.sentinel)], WAIT
        )
        for worker in list(self._workers):
            if worker.connection not in ready and worker.process.sentinel not in ready:
                continue
            dead = worker.process.sentinel in ready
            yield from _said(worker)
            if dead:
                self._workers.remove(worker)
                worker.process.join()
                if worker.task is not None:
                    ended = (worker.process.exitcode or 0) >= 0  # and was not killed
                    yield worker.task, Death(_how(worker.process), ended and not worker.has_begun)

    def stop(self) -> None:
        """End all; what they are at is lost."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    def _new(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        self.make_ready()
        with in_environment(ONE_THREAD):
            arguments = (theirs, dict(os.environ), *self._serve)
            process = self._context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker


def _said(worker: _Worker) -> Iterator[tuple[str, Any]]:
    try:
        while worker.connection.poll():
            said = worker.connection.recv()
            if isinstance(said, _Begun):
                worker.has_begun = True
            elif isinstance(said, _Done):
                worker.task = None
            elif worker.task is not None:
                yield worker.task, said
    except (EOFError, OSError):
        return


def _serve(
    connection: Connection, environment: Mapping[str, str], work: Work, arguments: tuple[Any, ...]
) -> None:
    # What it is forked from has the environment of its own beginning, and is another's where one was there before.
    os.environ.clear()
    os.environ.update(environment)
    with alone_on_one_thread():
        _work_on(connection, work, arguments)


def _work_on(connection: Connection, work: Work, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all; the parent decides
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    connection.send(_Begun())
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        work(connection.send, message, *arguments)
        connection.send(_Done())


def _end_with_the_parent() -> None:
    """End at once where the parent is killed: its next run must find nobody at work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _how(process: BaseProcess) -> str:
    code = process.exitcode
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return f"process {process.pid}, {how}"
