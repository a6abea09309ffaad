"""A study on a Dask cluster of two processes, of which one is killed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from spectral_opt.study import read_records
from spectral_opt.study.scheduling import run_study

from helpers.study_jobs import FakeJob, small_plan

# Each process of a cluster loads torch and transformers before its first cell.
pytestmark = pytest.mark.slow
PLAN = small_plan(4)
KEYS = [cell.key for job in PLAN.jobs() for cell in job.cells]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(processes=True, **settings) as cluster:
        yield cluster


def test_a_killed_worker_loses_no_cell_and_none_is_there_twice(tmp_path: Path, cluster: LocalCluster) -> None:
    # What is said is under way for some milliseconds, which a real cell takes many times over.
    job = FakeJob(
        tmp_path / "begun",
        dies="/1/l2sp",
        raises="/2/l2sp",
        diverges="/0/l2sp",
        infinite="/3/l2sp",
        seconds=0.1,
    )
    written: list[str] = []
    done = run_study(
        tmp_path,
        PLAN,
        scheduler=cluster.scheduler_address,
        run=job,
        advance=lambda work, what: written.append(what),
    )
    found = read_records(tmp_path, PLAN)
    failed, infinite = (next(key for key in KEYS if word in key) for word in ("/2/l2sp", "/3/l2sp"))
    killed = next(key for key in KEYS if "/1/l2sp" in key)
    assert sorted(done.failures) == [failed, infinite]
    assert "has inf in metrics.points.0.auc" in done.failures[infinite]
    assert sorted(found.records) == sorted(set(KEYS) - {failed, infinite})
    assert not found.refused
    # Each cell once, but for the one that was running.
    assert sorted(job.begun()) == sorted([*KEYS, killed])
    lost = {failed, infinite}
    assert sorted(written) == sorted([*(set(KEYS) - lost), *(f"failed: {key}" for key in lost)])
    assert len(done.deaths) == 1
    assert done.deaths[0].startswith("worker tcp://")
    assert (done.measured, done.diverged, done.left) == (14, 1, 2)
    again = run_study(tmp_path, PLAN, scheduler=cluster.scheduler_address, run=FakeJob(tmp_path / "more"))
    assert again.measured == 2


def test_what_is_recorded_comes_back_while_a_job_goes_on(tmp_path: Path, cluster: LocalCluster) -> None:
    plan, first = small_plan(1), threading.Event()
    job = FakeJob(tmp_path / "begun", seconds=0.3)
    begun: list[int] = []

    def advance(work: float, what: str) -> None:
        if not first.is_set():
            begun.append(len(job.begun()))
            first.set()

    run_study(tmp_path, plan, scheduler=cluster.scheduler_address, run=job, advance=advance)
    assert begun[0] < 4


def test_the_cluster_is_left_as_it_was(tmp_path: Path, cluster: LocalCluster) -> None:
    run_study(tmp_path, small_plan(1), scheduler=cluster.scheduler_address, run=FakeJob(tmp_path / "begun"))
    with Client(cluster, set_as_default=False) as client:
        assert not client.has_what() or not any(client.has_what().values())
        assert len(client.nthreads()) == 2


def test_nobody_at_an_address_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectral_opt.study.scheduling._dask_workers.PATIENCE", 0.2)
    with pytest.raises(OSError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        run_study(tmp_path, small_plan(1), scheduler="tcp://127.0.0.1:9", run=FakeJob(tmp_path / "begun"))
    assert not list(tmp_path.iterdir())
