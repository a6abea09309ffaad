import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from spectral_opt.study import (
    CellRecord,
    StudyPlan,
    cell_of,
    plan_from_text,
    read_plan,
    read_records,
    record_from_json,
    save_plan,
    stored_plan,
    write_record,
)

from helpers.study_records import synthetic_plan, synthetic_records

PLAN = synthetic_plan(seeds=2, tasks=["rotten_tomatoes"], methods=["adamw", "l2sp"], after=["product"])
RECORDS = synthetic_records(PLAN)
KEY, RECORD = next(iter(RECORDS.items()))
CELLS = {cell.key: cell for job in PLAN.jobs() for cell in job.cells}


def with_metric(name: str, value: object) -> dict[str, object]:
    return {"metrics": RECORD.metrics | {name: value}}


def with_state(values: dict[str, object]) -> dict[str, object]:
    first, *others = RECORD.metrics["points"]
    return with_metric("points", [first | values, *others])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for key, record in RECORDS.items():
        write_record(tmp_path, CELLS[key], record)
    return tmp_path


def file_of(folder: Path) -> Path:
    return folder / "cells" / CELLS[KEY].file


def test_records_come_back_as_they_were_written(folder: Path) -> None:
    found = read_records(folder, PLAN)
    assert found.records == RECORDS
    assert not found.refused


def test_a_record_knows_its_cell() -> None:
    assert cell_of(RECORD) == CELLS[KEY]


def test_no_folder_has_no_records(tmp_path: Path) -> None:
    assert not read_records(tmp_path / "none", PLAN).records


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "corrupt: no JSON"),
        (b'{"method": "adamw", ', "corrupt: no JSON"),
        (b"\xff\xff", "utf-8"),
        (b"[1]", "corrupt: no record"),
        (b"[" * 100_000, "recursion"),
        (b'{"schema": 2}', "its schema is 2; this version reads 1"),
        (b'{"schema": 1}', "corrupt: it has no method"),
    ],
)
def test_a_file_that_is_no_record_is_refused_by_name(folder: Path, content: bytes, reason: str) -> None:
    file_of(folder).write_bytes(content)
    found = read_records(folder, PLAN)
    assert reason in found.refused[CELLS[KEY].file]
    assert len(found.records) == len(RECORDS) - 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 99}, "foreign: the plan has no cell"),
        ({"seed": "13"}, "corrupt: seed is '13'"),
        ({"shots": True}, "corrupt: shots is True"),
        ({"seconds": float("nan")}, "NaN is no number"),
        ({"stage": "confirmation"}, "its stage is confirmation"),
        ({"digest": "other"}, "the settings of its task, part or model have changed"),
        ({"extra": 1}, "extra, which no record has"),
        ({"metrics": {}}, "finished and has no points"),
        ({"status": "done"}, "corrupt: status is 'done'"),
        ({"options": {"learning_rate": 5e-4}}, "foreign"),
        ({"metrics": {"points": [0.9]}}, "its points are no list of states"),
        ({"metrics": {"points": [{"auc": 0.9}]}}, "its points are no list of states"),
        (
            {"metrics": RECORD.metrics | {"points": [RECORD.metrics["points"][0] | {"factor": 0.3}]}},
            "its factors are [0.3], the plan has",
        ),
        ({"metrics": {"points": RECORD.metrics["points"]}}, "start has no number under accuracy, auc, lost"),
        (
            {"metrics": RECORD.metrics | {"points": [RECORD.metrics["points"][0] | {"lost": "low"}]}},
            "the point at factor 1 has no number under lost",
        ),
        ({"metrics": RECORD.metrics | {"tuned": {"auc": 0.9}}}, "tuned has no number under accuracy, lost"),
        ({"config": {"evaluate_every": 7}}, "its evaluate_every is 7, the plan has"),
        (with_state({"accuracy": 70}), "corrupt: of the point at factor 1 accuracy is 70"),
        (with_state({"lost": -0.1}), "of the point at factor 1 lost is -0.1"),
        (with_state({"drift": "far"}), "of the point at factor 1 drift is 'far'"),
        (with_state({"correct": "xy"}), "of the point at factor 1 correct is 'xy'"),
        (with_metric("bands", [0.5, 0.5]), "corrupt: bands are [0.5, 0.5], and should be 5 shares or none"),
        (with_metric("curve", None), "its curve is no mapping to lists of numbers"),
        (with_metric("curve", {"dev_step": [1], "dev_loss": ["a"]}), "its curve is no mapping"),
        (
            with_metric("curve", {"dev_step": [1], "dev_loss": [0.5, 0.4]}),
            "its curve has 1 dev_step, 2 dev_loss",
        ),
        (with_metric("curve", {"dev_loss": [0.5]}), "its curve has 1 dev_loss: one of each, and a dev_step"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(folder: Path, change: dict[str, object], reason: str) -> None:
    file_of(folder).write_text(json.dumps(asdict(RECORD) | change))
    assert reason in read_records(folder, PLAN).refused[CELLS[KEY].file]


def test_a_number_that_is_too_large_for_a_float_is_refused(folder: Path) -> None:
    file_of(folder).write_text(json.dumps(asdict(RECORD) | {"seconds": 0.125}).replace("0.125", "1e999"))
    assert "seconds is inf" in read_records(folder, PLAN).refused[CELLS[KEY].file]


def test_a_method_that_cannot_be_scaled_has_one_state(folder: Path) -> None:
    plan = replace(PLAN, parts=tuple(replace(part, factors=(1.0, 0.5)) for part in PLAN.parts))
    whole = {name: value for name, value in RECORD.metrics["points"][0].items() if name != "drift"}
    write_record(
        folder, CELLS[KEY], replace(RECORD, metrics=RECORD.metrics | {"points": [whole], "bands": []})
    )
    assert KEY in read_records(folder, plan).records
    # What can be scaled says how far it is from the start, whether it has bands or not.
    points = RECORD.metrics["points"][:1]
    write_record(
        folder, CELLS[KEY], replace(RECORD, metrics=RECORD.metrics | {"points": points, "bands": []})
    )
    assert "its factors are [1.0]" in read_records(folder, plan).refused[CELLS[KEY].file]


def test_cells_of_one_seed_that_saw_other_texts_are_refused(folder: Path) -> None:
    def on_texts(key: str, texts: str) -> None:
        record = RECORDS[key]
        facts = {"checksums": {"train": texts, "scored": "one"}}
        write_record(folder, CELLS[key], replace(record, config=record.config | {"facts": facts}))

    job = next(job for job in PLAN.jobs() if len(job.cells) > 1)
    first, second = (cell.key for cell in job.cells[:2])
    on_texts(first, "before")
    on_texts(second, "before")
    assert read_records(folder, PLAN).records.keys() == RECORDS.keys()
    on_texts(second, "after")
    found = read_records(folder, PLAN)
    assert second not in found.records
    assert (
        f"its texts (train) are others than those of the first record of {job.name}"
        in found.refused[CELLS[second].file]
    )


def test_a_copy_under_another_name_does_not_count_twice(folder: Path) -> None:
    shutil.copy(file_of(folder), file_of(folder).with_name("copy.json"))
    found = read_records(folder, PLAN)
    assert found.records == RECORDS
    assert [reason for name, reason in found.refused.items() if name.endswith("copy.json")]


def test_what_is_not_finite_is_named_and_not_written(tmp_path: Path) -> None:
    broken = replace(RECORD, metrics={"points": [{"factor": 1.0}, {"auc": float("inf")}]})
    with pytest.raises(ValueError, match=r"has inf in metrics\.points\.1\.auc"):
        write_record(tmp_path, CELLS[KEY], broken)
    assert not list(tmp_path.rglob("*.*"))


def test_a_diverged_run_is_a_record_of_its_own_kind(folder: Path) -> None:
    diverged = replace(RECORD, status="diverged", message="the loss is nan at step 3", metrics={})
    write_record(folder, CELLS[KEY], diverged)
    found = read_records(folder, PLAN)
    assert found.diverged == {KEY: "the loss is nan at step 3"}
    assert found.records[KEY] == diverged


def test_a_changed_setting_refuses_the_records_of_its_task(folder: Path) -> None:
    other = replace(PLAN, tasks=(replace(PLAN.tasks[0], steps=7),))
    found = read_records(folder, other)
    assert not found.records
    assert len(found.refused) == len(RECORDS)


def test_more_seeds_and_parts_leave_the_records_as_they_are(folder: Path) -> None:
    more = replace(PLAN.parts[0], name="more")
    longer = replace(PLAN.parts[0], seeds=(*PLAN.parts[0].seeds, 42))
    found = read_records(folder, replace(PLAN, parts=(longer, *PLAN.parts[1:], more)))
    assert found.records == RECORDS


def test_a_plan_is_kept_in_its_folder(tmp_path: Path) -> None:
    assert stored_plan(tmp_path) is None
    plan: StudyPlan = read_plan("quick")
    save_plan(tmp_path, plan)
    assert stored_plan(tmp_path) == plan == plan_from_text((tmp_path / "study.yaml").read_text())
    assert (tmp_path / "states" / ".gitignore").read_text() == "*\n"


def test_a_record_as_text_is_the_record() -> None:
    read: CellRecord = record_from_json(json.dumps(asdict(RECORD)))
    assert read == RECORD
