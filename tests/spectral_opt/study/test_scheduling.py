"""Studies whose jobs measure nothing, on real processes that die, raise, wait and find the disk full."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectral_opt.study import (
    FoundRecords,
    Job,
    StudyPlan,
    read_plan,
    read_records,
    stored_plan,
    write_record,
)
from spectral_opt.study.scheduling import StudyRun, begin_study, locked, run_study

from helpers.study_jobs import FakeJob, small_plan
from helpers.study_records import synthetic_records

PLAN = small_plan()
CLAIM: dict[str, Any] = {
    "id": "H1",
    "claim": "It loses less.",
    "tests": [{"kind": "score_difference", "part": "one", "methods": ["l2sp"], "above": 0.0}],
}
KEYS = [cell.key for job in PLAN.jobs() for cell in job.cells]


def run(folder: Path, job: FakeJob, plan: StudyPlan = PLAN, **more: object) -> tuple[StudyRun, FoundRecords]:
    done = run_study(folder, plan, run=job, **({"workers": 0} | more))
    return done, read_records(folder, plan)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "begun"


def test_cells_run_in_the_plans_order_and_not_a_second_time(tmp_path: Path, log: Path) -> None:
    job, shares = FakeJob(log), list[float]()
    done, found = run(tmp_path, job, advance=lambda work, what: shares.append(work))
    assert (done.cells, done.measured, done.left, done.is_clean) == (8, 8, 0, True)
    assert job.begun() == KEYS == list(found.records)
    assert sum(shares) == pytest.approx(1.0)
    again, _ = run(tmp_path, job)
    assert (again.cells, again.measured, again.left) == (8, 0, 0)
    assert job.begun() == KEYS


@pytest.mark.slow
def test_two_workers_share_the_jobs(tmp_path: Path, log: Path) -> None:
    done, found = run(tmp_path, job := FakeJob(log, seconds=0.05), workers=2)
    assert done.measured == 8
    assert sorted(job.begun()) == sorted(KEYS) == sorted(found.records)


def test_a_worker_that_dies_loses_the_running_cell_alone(tmp_path: Path, log: Path) -> None:
    job = FakeJob(log, dies="/1/l2sp")
    done, found = run(tmp_path, job, workers=1)
    assert sorted(found.records) == sorted(KEYS)
    assert [key for key in KEYS if job.begun().count(key) > 1] == [key for key in KEYS if "/1/l2sp" in key]
    assert len(done.deaths) == 1
    assert "signal 9, at one/films-16-1" in done.deaths[0]
    assert done.is_clean


@pytest.mark.slow
def test_a_job_that_kills_its_worker_three_times_is_given_up_and_the_others_go_on(
    tmp_path: Path, log: Path
) -> None:
    done, found = run(tmp_path, FakeJob(log, dies="/0/adamw,learning_rate=0.0001", deaths=9), workers=1)
    assert sorted(found.records) == [key for key in sorted(KEYS) if "/1/" in key]
    assert sorted(done.failures) == [key for key in sorted(KEYS) if "/0/" in key]
    assert "given up after 3 tries" in done.failures[KEYS[0]]
    assert len(done.deaths) == 3
    assert not done.is_clean


def test_a_cell_that_raises_is_named_and_the_others_go_on(tmp_path: Path, log: Path) -> None:
    done, found = run(tmp_path, FakeJob(log, raises="l2sp"))
    lost = [key for key in KEYS if "l2sp" in key]
    assert done.failures == dict.fromkeys(lost, "RuntimeError: nothing comes of l2sp")
    assert all("RuntimeError" in trace for trace in done.traces.values())
    assert set(found.records) == set(KEYS) - set(lost)
    assert (done.left, done.is_clean) == (2, False)


def test_a_job_that_cannot_begin_fails_with_all_of_its_cells(tmp_path: Path, log: Path) -> None:
    done, found = run(tmp_path, FakeJob(log, broken="films-16-0"))
    assert list(done.failures) == [key for key in KEYS if "/0/" in key]
    assert len(found.records) == 4


def test_a_number_that_is_not_finite_is_a_failure_of_its_cell(tmp_path: Path, log: Path) -> None:
    done, _ = run(tmp_path, FakeJob(log, infinite="/0/l2sp"))
    assert "has inf in metrics.points.0.auc" in next(iter(done.failures.values()))
    assert done.measured == 7


def test_a_diverged_run_is_a_record_that_is_counted(tmp_path: Path, log: Path) -> None:
    done, found = run(tmp_path, FakeJob(log, diverges="l2sp"))
    assert (done.measured, done.diverged, done.is_clean) == (8, 2, True)
    assert set(found.diverged.values()) == {"the loss is nan"}


def test_after_its_minutes_no_cell_is_started(tmp_path: Path, log: Path) -> None:
    job = FakeJob(log, seconds=0.4)
    done, found = run(tmp_path, job, minutes=1e-9)
    assert (done.measured, done.left, job.begun()) == (0, 8, [])
    done, found = run(tmp_path, FakeJob(log, seconds=0.1), minutes=0.25 / 60)
    assert 0 < done.measured < 8
    assert done.left == 8 - done.measured == 8 - len(found.records)
    assert "the time is over" in done.stopped
    assert done.is_clean


def test_a_full_disk_stops_the_run_and_says_where(tmp_path: Path, log: Path) -> None:
    done, _ = run(tmp_path, FakeJob(log), plan=small_plan(1))
    assert done.measured == 4
    # A folder that is a file: no record can be written there.
    (tmp_path / "cells" / "one" / "films-16-1").write_text("")
    done, found = run(tmp_path, FakeJob(log))
    assert "nothing more can be written" in done.stopped
    assert str(tmp_path) in done.stopped
    assert (done.measured, len(found.records), done.is_clean) == (0, 4, False)


def test_other_parts_are_left_alone_and_an_unknown_one_is_told(tmp_path: Path, log: Path) -> None:
    two = replace(PLAN, parts=(*PLAN.parts, replace(PLAN.parts[0], name="two", seeds=(7,))))
    done, found = run(tmp_path, FakeJob(log), two, parts=["two"])
    assert (done.cells, len(found.records)) == (4, 4)
    with pytest.raises(ValueError, match="no part of the study named 'tow'; did you mean 'two'"):
        run(tmp_path, FakeJob(log), two, parts=["tow"])


def test_a_task_whose_probe_is_its_own_data_stops_the_run_before_any_cell(tmp_path: Path, log: Path) -> None:
    plan = replace(PLAN, tasks=(replace(PLAN.tasks[0], probes=("rotten_tomatoes",)),))
    with pytest.raises(ValueError, match="the probe 'rotten_tomatoes' is the task's own data"):
        run_study(tmp_path, plan, workers=0, run=FakeJob(log))
    assert not FakeJob(log).begun()


def test_a_killed_run_goes_on_and_loses_at_most_the_running_cells(tmp_path: Path, log: Path) -> None:
    script = (
        "from pathlib import Path; from helpers.study_jobs import *; from spectral_opt.study.scheduling import *\n"
        f"run_study(Path({str(tmp_path)!r}), small_plan(), workers=1, run=FakeJob(Path({str(log)!r}), seconds=0.3))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parents[2])])
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path})
    while len(FakeJob(log).begun()) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # a worker that lived on would begin another cell
    begun = len(FakeJob(log).begun())
    assert begun == 3
    assert 2 <= len(read_records(tmp_path, PLAN).records) <= 3
    done, found = run(tmp_path, job := FakeJob(log))
    assert sorted(found.records) == sorted(KEYS)
    assert len(job.begun()) <= 8 + 1
    assert done.is_clean


def test_a_folder_is_begun_and_taken_up_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no study in .*--preset"):
        begin_study(tmp_path, None)
    quick = read_plan("quick")
    assert begin_study(tmp_path, quick) == (quick, [])
    assert begin_study(tmp_path, None) == (quick, []) == begin_study(tmp_path, quick)


def test_seeds_parts_and_methods_may_come_to_a_study(tmp_path: Path) -> None:
    begin_study(tmp_path, PLAN)
    record_all(tmp_path, PLAN)
    part = PLAN.parts[0]
    longer = replace(
        part, seeds=(0, 1, 2), methods=(*part.methods, replace(part.methods[0], name="spectral_filter"))
    )
    more = replace(PLAN, parts=(longer, replace(part, name="two")))
    plan, changes = begin_study(tmp_path, more)
    assert plan == more == stored_plan(tmp_path)
    assert changes == [
        "parts.one.seeds: 2 added",
        "parts.one.methods.spectral_filter added",
        "parts.two added",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": "other"},
            r"8 of its 8 records would be foreign.*model: all-MiniLM-L6-v2 before, other now",
        ),
        ({"parts": (replace(PLAN.parts[0], seeds=(0,)),)}, r"4 of its 8 records.*seeds: 1 gone"),
        ({"parts": (replace(PLAN.parts[0], factors=(1.0, 0.5)),)}, r"factors: 0.5 added"),
        ({"parts": (replace(PLAN.parts[0], after_factors=(1.0, 0.5)),)}, r"4 of its 8.*after_factors added"),
        ({"parts": (replace(PLAN.parts[0], evaluate_every=5),)}, r"evaluate_every: 0 before, 5 now"),
        ({"tasks": (replace(PLAN.tasks[0], steps=5),)}, r"8 of its 8 .*tasks.films.steps: 125 before, 5 now"),
    ],
)
def test_a_change_that_records_do_not_bear_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    begin_study(tmp_path, PLAN)
    record_all(tmp_path, PLAN)
    with pytest.raises(ValueError, match=message):
        begin_study(tmp_path, replace(PLAN, **change))
    assert stored_plan(tmp_path) == PLAN


def test_a_hypothesis_may_come_and_none_may_change_once_it_is_being_confirmed(tmp_path: Path) -> None:
    part = replace(PLAN.parts[0], stage="confirmation")
    plan = replace(PLAN, parts=(part,), hypotheses=(CLAIM,))
    begin_study(tmp_path, plan)
    weaker = replace(plan, hypotheses=(CLAIM | {"claim": "It loses a bit less."},))
    begin_study(tmp_path, weaker)
    begin_study(tmp_path, plan)
    record_all(tmp_path, plan)
    with pytest.raises(
        ValueError, match=r"hypotheses.H1.claim: It loses less. before, It loses a bit less. now"
    ):
        begin_study(tmp_path, weaker)
    _, changes = begin_study(tmp_path, replace(plan, hypotheses=(*plan.hypotheses, CLAIM | {"id": "H2"})))
    assert changes == ["hypotheses.H2 added"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rule": "any"}, "hypotheses.H1.rule added"),
        ({"tests": [CLAIM["tests"][0] | {"score": "auc"}]}, "score added"),
        (
            {"tests": [CLAIM["tests"][0] | {"rivals": ["adamw", "adamw+product,strength=1.0"]}]},
            "rivals added",
        ),
        ({"tests": [*CLAIM["tests"], CLAIM["tests"][0] | {"score": "auc"}]}, "H1"),
    ],
)
def test_what_was_left_out_of_a_hypothesis_is_a_part_of_it(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    plan = replace(PLAN, parts=(replace(PLAN.parts[0], stage="confirmation"),), hypotheses=(CLAIM,))
    begin_study(tmp_path, plan)
    record_all(tmp_path, plan)
    with pytest.raises(ValueError, match=f"confirm or refute what this plan changes: .*{told}"):
        begin_study(tmp_path, replace(plan, hypotheses=(CLAIM | change,)))
    # The default, written out, is the same claim.
    begin_study(tmp_path, replace(plan, hypotheses=(CLAIM | {"rule": "all"},)))


def test_a_job_is_told_the_texts_of_the_cells_that_it_does_not_run(tmp_path: Path, log: Path) -> None:
    seen = []

    def watched(plan: StudyPlan, job: Job, *, known: Any, **others: Any) -> None:
        seen.append(dict(known))
        FakeJob(log)(plan, job, known=known, **others)

    (first, *_) = (cell for job in PLAN.jobs() for cell in job.cells)
    record = synthetic_records(PLAN)[first.key]
    texts = {"train": "a", "scored": "b"}
    write_record(tmp_path, first, replace(record, config=record.config | {"facts": {"checksums": texts}}))
    run_study(tmp_path, PLAN, workers=0, run=watched)
    assert seen[0] == {first.key: texts}


def record_all(folder: Path, plan: StudyPlan) -> None:
    records = synthetic_records(plan)
    for job in plan.jobs():
        for cell in job.cells:
            write_record(folder, cell, records[cell.key])


def test_a_second_run_is_kept_out_and_a_dead_ones_lock_taken_over(tmp_path: Path) -> None:
    with (
        locked(tmp_path) as left,
        pytest.raises(ValueError, match=f"another run is at work in .*: process {os.getpid()}"),
        locked(tmp_path),
    ):
        pass
    assert left == ""
    (tmp_path / "states" / ".pid").write_text("99999999\n")
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / ".0123.part").write_text("half")
    with locked(tmp_path) as left:
        assert left == "99999999"
        assert not (tmp_path / "cells" / ".0123.part").exists()
