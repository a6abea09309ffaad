"""Calls of several rounds by the same processes, of which one may die between two rounds."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from paramgraph.workers import Death, LocalProcesses

from helpers.backwards_workers import Backwards


class DeadBetween(Backwards):
    """One dies as it has told its first result, which is found in the next round."""

    late: list[tuple[str, Any]] = []  # noqa: RUF012
    started = 0

    def start(self, task: str, message: bytes) -> None:
        DeadBetween.started += 1
        super().start(task, message)

    def heard(self) -> Iterator[tuple[str, Any]]:
        yield from DeadBetween.late
        said = list(super().heard())
        DeadBetween.late = [] if DeadBetween.late else [(said[0][0], Death("process 7, signal 9"))]
        yield from said


def test_a_death_between_two_rounds_is_not_of_the_call_of_that_name_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paramgraph.workers.calls.WorkerProcesses", DeadBetween)
    workers = LocalProcesses("Sums were made", 1, 1, "", __name__)
    rounds = [list(workers.results(iter([("a", partial(sum, (1, last)))]), 1)) for last in (2, 3)]
    assert rounds == [[("a", 3)], [("a", 4)]]
    assert list(workers.remarks)[1:] == ["A worker died (process 7, signal 9) at a."]
    assert DeadBetween.started == 2  # none was tried again
