"""Processes that are handed work: one thread each, deaths told after last words, nothing left of the environment."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from paramgraph.workers import ONE_THREAD, Death, WorkerProcesses


def work(tell: Callable[[Any], None], message: str, word: str) -> None:
    tell((word, message, os.environ["OMP_NUM_THREADS"]))
    if message == "die":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def processes() -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(1, work, ("said",))
    yield made
    made.stop()


def all_heard(processes: WorkerProcesses) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    while not processes.free():
        found += processes.heard()
    return found


def test_last_words_come_before_a_death_and_the_next_task_has_a_new_process(
    processes: WorkerProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    processes.start("first", "die")
    assert processes.free() == 0
    said, death = all_heard(processes)
    assert said == ("first", ("said", "die", ONE_THREAD["OMP_NUM_THREADS"]))
    assert death[0] == "first"
    assert isinstance(death[1], Death)
    assert death[1].how.endswith(", signal 9")
    assert not death[1].never_began
    processes.start("second", "live")
    assert all_heard(processes) == [("second", ("said", "live", "1"))]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


class Unknown:
    """What a process cannot make anew, as the builder of a script that is not imported there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def test_a_process_that_ended_as_it_started_says_so() -> None:
    made = WorkerProcesses(1, work, (Unknown(),))
    made.start("first", "live")
    ((task, death),) = all_heard(made)
    assert task == "first"
    assert death.never_began
    assert death.how.endswith(", exit code 3")


def tell_parent(tell: Callable[[Any], None], message: str) -> None:
    tell((os.getppid(), os.environ.get("SAID"), os.environ["OMP_NUM_THREADS"], torch.get_num_threads()))
    if message == "die":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="it cannot fork")
def test_processes_of_a_module_come_of_one_and_have_the_environment_of_their_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parents = set()
    for word in ("first", "second"):
        monkeypatch.setenv("SAID", word)
        made = WorkerProcesses(1, tell_parent, (), "paramgraph.workers.calls")
        made.start(word, "die")
        (_, (parent, said, *threads)), (_, death) = all_heard(made)
        made.stop()
        assert death.how.endswith(", signal 9")
        assert said == word
        assert threads == ["1", 1]
        parents.add(parent)
    assert len(parents) == 1
    assert os.getpid() not in parents
