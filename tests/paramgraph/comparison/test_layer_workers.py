"""Layers measured by processes and by a Dask cluster: what one process finds, also where a worker is killed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paramgraph import CosineKNN, compare
from paramgraph.workers import Death

from helpers.backwards_workers import Backwards, put_backwards
from helpers.mortal_builder import MortalBuilder

WIDTHS = (8, 70, 24, 20, 30)


def perceptron() -> nn.Sequential:
    """Make four layers, the first of which is the one to draw, and the third of which is never updated."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(WIDTHS)))


def tuned() -> nn.Sequential:
    model = perceptron()
    with torch.no_grad():
        for number in (0, 1, 3):
            model[number].weight += 0.1 * model[number].weight.roll(1, 0)
    return model


def measured(folder: Path, deaths: int = 0, **more: Any) -> dict[str, Any]:
    folder.mkdir()
    builders = {"mortal": MortalBuilder(folder, 24, deaths), "ring": "ring"}
    found = compare(perceptron(), builders, "weights", tuned=tuned(), targets=["0", "1", "2", "3"], **more)
    record = found.to_dict()
    for timed in (*record["cells"], *record["summary"]):  # no run takes as long as another
        timed.pop("build_seconds", None)
        del timed["seconds"]
    record["chosen"] = record.pop("setting")["chosen"]
    del record["constructions"]  # they name their folder
    return record


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, Any]:
    return measured(tmp_path / "alone", seeds=(0, 1))


def check_told(found: dict[str, Any], alone: dict[str, Any], words: list[str]) -> None:
    """Compare all but what was chosen, and that but for what is said of workers."""
    said = [line for line in found.pop("chosen") if line not in alone["chosen"]]
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True)), said
    assert found == {name: value for name, value in alone.items() if name != "chosen"}


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> type[Backwards]:
    return put_backwards(monkeypatch, "1.weight")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_order_in_which_workers_finish_changes_nothing(
    tmp_path: Path, alone: dict[str, Any], backwards: type[Backwards], workers: int
) -> None:
    backwards.deaths = 2
    found = measured(tmp_path / "other", seeds=(0, 1), workers=workers)
    died = "A worker died (process 7, signal 9) at 1.weight."
    check_told(found, alone, ["of one thread: each needs up to ", died, died])
    assert found["drawing"]["layer"] == "0.weight"
    assert [one["name"] for one in found["left_out"]] == ["2.weight"]  # it was measured, and is dropped


def test_a_layer_that_kills_its_workers_is_given_up_by_name(
    tmp_path: Path, backwards: type[Backwards]
) -> None:
    backwards.deaths = 3
    found = measured(tmp_path / "killed", workers=2)
    assert {cell["layer"] for cell in found["cells"]} == {"0.weight", "3.weight"}
    (failure,) = found["failures"]
    assert failure["layer"] == "1.weight"
    assert failure["error"] == "given up after 3 tries, the last worker died: process 7, signal 9"
    assert {"name": "1.weight", "reason": failure["error"]} in found["left_out"]


def test_a_layer_that_was_a_workers_last_word_is_measured(
    tmp_path: Path, alone: dict[str, Any], backwards: type[Backwards]
) -> None:
    backwards.after = 1
    found = measured(tmp_path / "last", seeds=(0, 1), workers=2)
    check_told(found, alone, ["of one thread: each needs up to ", "signal 9) at 1.weight."])


def test_a_process_that_cannot_start_is_told_at_once(tmp_path: Path, backwards: type[Backwards]) -> None:
    backwards.deaths, backwards.death = 1, Death("process 7, exit code 1", never_began=True)
    with pytest.raises(ValueError, match=r"ended as it started \(process 7, exit code 1;.*__main__"):
        measured(tmp_path / "unguarded", workers=2)
    assert backwards.stopped == 1


@pytest.mark.parametrize("workers", [None, 2])
def test_what_ends_the_comparison_of_one_process_ends_that_of_several(
    tmp_path: Path, backwards: type[Backwards], monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError("no room for all eigenvectors")

    monkeypatch.setattr("paramgraph.comparison._layer_workers.compare_layer", out_of_memory)
    with pytest.raises(MemoryError, match="no room for all eigenvectors"):
        measured(tmp_path / "ended", workers=workers)


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_each_cell_is_told_once(
    tmp_path: Path, backwards: type[Backwards], monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    totals: list[float] = []
    steps: list[float] = []

    @contextmanager
    def counted(total: float, shown: bool) -> Iterator[Callable[..., None]]:
        totals.append(total)
        yield lambda step, what: steps.append(step)

    monkeypatch.setattr("paramgraph.comparison._layer_loop.progress_bar", counted)
    measured(
        tmp_path / "told", workers=workers
    )  # 2.weight is zero, and passed over where that is known in time
    assert [sum(steps)] == totals


@pytest.mark.slow  # each process loads torch and PyG, 4 s on an idle core
def test_processes_find_what_one_finds_though_one_is_killed(tmp_path: Path, alone: dict[str, Any]) -> None:
    # One thread each, and here too: sums of several threads round otherwise.
    found = measured(tmp_path / "two", deaths=1, seeds=(0, 1), workers=2)
    check_told(found, alone, ["2 processes of one thread: each needs up to ", "signal 9) at 1.weight"])


def test_no_more_processes_than_the_budget_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(number: int, *rest: object) -> Any:
        made.append(number)
        raise KeyboardInterrupt

    monkeypatch.setattr("paramgraph.workers.calls.WorkerProcesses", counted)
    for budget in (500_000_000, 1_000_000_000, 10_000_000_000):
        with pytest.raises(KeyboardInterrupt):
            compare(perceptron(), "ring", workers=9, memory_budget=budget, targets=["0", "1", "2"])
    assert made == [1, 2, 9]  # one or two of 450 MB and more, or as many as were asked for


def test_of_what_is_free_one_process_is_always_taken(
    backwards: type[Backwards], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paramgraph.workers.calls.available_bytes", lambda: 100_000_000)
    found = compare(perceptron(), "ring", workers=9)
    said = "by 1 process of one thread in place of 9: each needs up to 0.5 GB, 0.1 GB are allowed."
    assert any(said in line for line in found.setting["chosen"])


def test_only_processes_that_measured_layers_are_told(tmp_path: Path, backwards: type[Backwards]) -> None:
    def told() -> list[str]:
        found = compare(perceptron(), "ring", folder=tmp_path, workers=2, targets=["0", "1", "2"])
        return [line.partition(":")[0] for line in found.setting["chosen"] if "process" in line]

    assert told() == ["Layers were measured by 2 processes of one thread"]
    assert told() == []  # all are kept
    kept = (tmp_path / "layers.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "layers.jsonl").write_text("".join(kept[:-1]))
    assert told() == ["Layers were measured by 1 process of one thread in place of 2"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"workers": 0}, ValueError, "workers must be at least 1"),
        ({"workers": 2, "memory_budget": 0}, ValueError, "memory_budget must be at least 1"),
        ({"memory_budget": 10**9}, ValueError, "memory_budget bounds the processes of workers"),
        (
            {"workers": 2, "memory_budget": 10**8},
            ValueError,
            "is 100,000,000 bytes, .*needs up to 4.*'0.weight'",
        ),
        ({"workers": 2, "client": object()}, ValueError, "either workers.*or client"),
        ({"client": "tcp://127.0.0.1:9"}, TypeError, "client is a distributed.Client, .* got str"),
        (
            {"workers": 2, "builders": lambda data: CosineKNN(k=3)(data)},
            TypeError,
            "cannot be sent to another",
        ),
    ],
)
def test_what_cannot_go_well_is_refused_before_any_work(
    options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        compare(perceptron(), **{"builders": "ring", "folder": tmp_path / "kept"} | options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # each process of a cluster loads torch
def test_a_cluster_finds_what_one_finds_though_a_worker_is_killed(
    tmp_path: Path, alone: dict[str, Any]
) -> None:
    from distributed import Client, LocalCluster

    settings: dict[str, Any] = {"dashboard_address": None, "silence_logs": 50}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **settings) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        found = measured(tmp_path / "cluster", deaths=1, seeds=(0, 1), client=client)
    check_told(found, alone, ["A worker died (worker tcp://"])
