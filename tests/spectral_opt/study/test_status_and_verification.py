import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from paramgraph.environment import hardware, versions
from spectral_opt.study import read_records, study_status, verify_cells, write_record
from spectral_opt.study.scheduling import Pace, run_study

from helpers.study_jobs import FakeJob, small_plan, states

PLAN = small_plan()
CELLS = {cell.key: cell for job in PLAN.jobs() for cell in job.cells}


@pytest.fixture
def job(tmp_path: Path) -> FakeJob:
    return FakeJob(tmp_path / "begun", diverges="/1/l2sp")


@pytest.fixture
def folder(tmp_path: Path, job: FakeJob) -> Path:
    run_study(tmp_path, PLAN, workers=0, run=job)
    return tmp_path


def test_status_counts_what_is_there_and_estimates_the_rest(folder: Path) -> None:
    more = replace(PLAN, parts=(replace(PLAN.parts[0], seeds=(0, 1, 2)),))
    file = folder / "cells" / next(iter(CELLS.values())).file
    file.write_text("{")
    status = study_status(more, read_records(folder, more))
    (row,) = status.rows
    assert (row.part, row.task, row.cells, row.done, row.diverged) == ("one", "films", 12, 7, 1)
    assert row.median_seconds == 2.0
    assert status.hours_left == row.hours_left == pytest.approx(5 * 2 / 3600)
    assert list(status.refused) == [next(iter(CELLS.values())).file]


def test_a_study_without_records_has_no_pace(tmp_path: Path) -> None:
    status = study_status(PLAN, read_records(tmp_path, PLAN))
    assert (status.cells, status.done, status.hours_left) == (8, 0, None)


def test_pace_weighs_cells_by_their_method(folder: Path) -> None:
    found = read_records(folder, PLAN)
    slow = [replace(one, seconds=98.0) if one.after is None else one for one in found.records.values()]
    trained, filtered = (
        next(cell for cell in CELLS.values() if bool(cell.after) == is_filter) for is_filter in (0, 1)
    )
    pace = Pace(PLAN, slow, [trained, filtered])
    assert pace.seconds_left() == pytest.approx(100.0)
    assert pace.done(filtered, 2.0) == pytest.approx(0.02)
    assert pace.done(trained, 98.0) == pytest.approx(0.98)


def test_pace_takes_what_was_not_seen_for_texts_that_pass_the_model(folder: Path) -> None:
    found = read_records(folder, PLAN)
    trained = [one for one in found.records.values() if one.after is None and one.status == "finished"]
    task = PLAN.tasks[0]
    passed = 3 * task.steps * task.batch_size + task.test_size + task.neighbours
    part = replace(PLAN.parts[0], name="longer", steps=2 * task.steps, factors=(1.0, 0.5))
    longer = replace(PLAN, parts=(*PLAN.parts, part))
    ahead = [cell for job in longer.jobs(["longer"]) for cell in job.cells if job.seed == 0]
    by_filter = {
        is_filter: [cell for cell in ahead if bool(cell.after) == is_filter] for is_filter in (False, True)
    }
    # Twice the steps and twice the states: twice the time; a filter has the states alone.
    assert Pace(longer, trained, by_filter[False]).seconds_left() == pytest.approx(2 * 2 * 2.0)
    states = 2 * (task.test_size + task.neighbours)
    assert Pace(longer, trained, by_filter[True]).seconds_left() == pytest.approx(2 * 2.0 * states / passed)


def test_what_comes_out_again_is_verified(folder: Path, job: FakeJob) -> None:
    rows = verify_cells(folder, PLAN, cells=8, workers=0, run=job)
    assert [row.cell for row in rows] == sorted(CELLS)
    assert not [row for row in rows if row.differences]


@pytest.mark.parametrize("here", [True, False])
def test_a_number_that_is_off_is_named(folder: Path, job: FakeJob, here: bool) -> None:
    key, cell = next(iter(CELLS.items()))
    record = read_records(folder, PLAN).records[key]
    machine = {"versions": versions(), "hardware": {**hardware(), "torch_threads": 1}} if here else {}
    for off in (1e-5, 0.1):
        changed = replace(record, metrics=states(0.5 + off), **machine)
        write_record(folder, cell, changed)
        row = next(one for one in verify_cells(folder, PLAN, cells=8, workers=0, run=job) if one.cell == key)
        told = (f"points.0.auc is {0.5 + off:g} in the record, 0.5 now",)
        assert row.differences == (told if here or off > 0.05 else ())
        assert bool(row.remark) is not here


@pytest.mark.parametrize("name", ["tuned", "bands", "curve"])
def test_all_that_was_measured_is_compared_but_times(folder: Path, job: FakeJob, name: str) -> None:
    key, cell = next(iter(CELLS.items()))
    machine = {"versions": versions(), "hardware": {**hardware(), "torch_threads": 1}}
    measured = states(0.5)
    measured |= {"tuned": measured["start"], "bands": [0.2] * 5}
    measured["curve"] = {"losses": [0.7], "dev_step": [1], "dev_loss": [0.6], "dev_cpu_seconds": [3.0]}
    off = {"tuned": measured["start"] | {"auc": 0.6}, "bands": [1.0, 0, 0, 0, 0]}
    off["curve"] = measured["curve"] | {"dev_loss": [0.1]}
    record = replace(read_records(folder, PLAN).records[key], metrics=measured, **machine)
    again = replace(job, measured={**measured, "curve": measured["curve"] | {"dev_cpu_seconds": [4.0]}})
    for changed in (record, replace(record, metrics=measured | {name: off[name]})):
        write_record(folder, cell, changed)
        row = next(
            one for one in verify_cells(folder, PLAN, cells=8, workers=0, run=again) if one.cell == key
        )
        assert bool(row.differences) == (changed is not record)
        assert all(text.startswith(name) for text in row.differences)


def test_other_texts_are_a_difference(folder: Path, job: FakeJob) -> None:
    key, cell = next(iter(CELLS.items()))
    record = read_records(folder, PLAN).records[key]
    write_record(folder, cell, replace(record, config={"facts": {"checksums": {"train": "before"}}}))
    again = replace(job, config={"facts": {"checksums": {"train": "now"}}})
    row = next(one for one in verify_cells(folder, PLAN, cells=8, workers=0, run=again) if one.cell == key)
    assert row.differences == ("its texts (train) are others now",)


def test_runs_that_diverged_give_no_pace(tmp_path: Path, job: FakeJob) -> None:
    run_study(tmp_path, PLAN, workers=0, run=replace(job, diverges=""))
    more = replace(PLAN, parts=(replace(PLAN.parts[0], seeds=(0, 1, 2)),))
    status = study_status(more, read_records(tmp_path, more))
    assert (status.diverged, status.hours_left, status.rows[0].hours_left) == (8, None, None)


def test_a_record_of_another_device_is_compared_more_coarsely(folder: Path, job: FakeJob) -> None:
    key, cell = next(iter(CELLS.items()))
    there = {**hardware(), "torch_threads": 1, "device": "cuda (a card)"}
    changed = replace(
        read_records(folder, PLAN).records[key], metrics=states(0.51), versions=versions(), hardware=there
    )
    write_record(folder, cell, changed)
    row = next(one for one in verify_cells(folder, PLAN, cells=8, workers=0, run=job) if one.cell == key)
    assert (row.differences, row.remark) == ((), "another device: numbers agree to 0.05 at best")


def test_a_device_that_is_not_there_is_refused_before_any_cell(folder: Path, job: FakeJob) -> None:
    begun = job.log.read_text()
    with pytest.raises(ValueError, match="device is 'cuda:99', and there is none"):
        verify_cells(folder, PLAN, cells=8, workers=0, run=job, device="cuda:99")
    assert job.log.read_text() == begun


def test_a_refused_file_and_a_cell_that_fails_are_differences(folder: Path, job: FakeJob) -> None:
    file = folder / "cells" / CELLS[next(iter(CELLS))].file
    file.write_text(json.dumps(asdict(read_records(folder, PLAN).records[next(iter(CELLS))]) | {"schema": 9}))
    rows = verify_cells(folder, PLAN, cells=7, workers=0, run=replace(job, raises="l2sp"))
    told = {row.cell: row.differences[0] for row in rows if row.differences}
    assert "refused: its schema is 9" in told[file.relative_to(folder / "cells").as_posix()]
    assert [text for key, text in told.items() if "l2sp" in key] == [
        "it cannot be run again: RuntimeError: nothing comes of l2sp"
    ] * 2


def test_the_draw_follows_the_seed_and_cannot_be_larger_than_the_records(folder: Path, job: FakeJob) -> None:
    def drawn(seed: int) -> list[str]:
        return [row.cell for row in verify_cells(folder, PLAN, 2, seed, workers=0, run=job)]

    assert drawn(0) == drawn(0)
    assert {key for seed in range(6) for key in drawn(seed)} > set(drawn(0))
    with pytest.raises(ValueError, match="has 8 records that can be run again; --cells is 9"):
        verify_cells(folder, PLAN, 9, workers=0, run=job)
