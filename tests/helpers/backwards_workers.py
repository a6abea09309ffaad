"""Processes of one's own, for what is said of workers: the last task is done first, and some die."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paramgraph.workers import Death


class Backwards:
    """Workers of this process, which answer the last layer first, and of which one dies for each death that is left."""

    dying = ""  # the name of the call at which they die
    deaths = 0
    after = 0  # how often one dies right after its layer was told
    death = Death("process 7, signal 9")
    stopped = 0

    def __init__(
        self,
        number: int,
        work: Callable[..., None],
        arguments: tuple[Any, ...] = (),
        module: str | None = None,
    ) -> None:
        self._number, self._work, self._arguments = number, work, arguments
        self._sent: list[tuple[str, bytes]] = []

    def make_ready(self) -> None:
        """Have nothing to import."""

    def free(self) -> int:
        return self._number - len(self._sent)

    def start(self, task: str, message: bytes) -> None:
        self._sent.append((task, message))

    def heard(self) -> Iterator[tuple[str, Any]]:
        task, message = self._sent.pop()
        dies = task.endswith(f" {Backwards.dying}")
        if Backwards.deaths and dies:
            Backwards.deaths -= 1
            yield task, Backwards.death
            return
        told: list[Any] = []
        try:
            self._work(told.append, message, *self._arguments)
        except Exception:  # as it ends a process
            told = [Death("process 7, exit code 1")]
        yield from ((task, one) for one in told)
        if Backwards.after and dies:
            Backwards.after -= 1
            yield task, Backwards.death

    def stop(self) -> None:
        self._sent.clear()
        Backwards.stopped += 1


def put_backwards(monkeypatch: pytest.MonkeyPatch, dying: str) -> type[Backwards]:
    """Put them in the place of processes; `deaths` and the like are set by the test."""
    monkeypatch.setattr("paramgraph.workers.calls.WorkerProcesses", Backwards)
    for name in ("deaths", "after", "death", "stopped"):
        monkeypatch.setattr(Backwards, name, getattr(Backwards, name))
    monkeypatch.setattr(Backwards, "dying", dying)
    return Backwards
