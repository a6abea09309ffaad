"""Plans with tasks of a language model, their cells and records; and that those of classes are what they were."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

from spectral_opt.study import (
    AfterGrid,
    LanguageTask,
    MethodGrid,
    Part,
    StudyPlan,
    StudyTask,
    fine_tune,
    get_method,
    plan_from_text,
    plan_text,
    read_plan,
    read_records,
    record_from_json,
    record_text,
    run_job,
)

from helpers.study_settings import LANGUAGE_TASK, state_of, tiny_language_setting

pytestmark = pytest.mark.usefixtures("one_thread")
STUDY = Path(__file__).parents[4] / "tutorials" / "records" / "study"
DIGEST = "10893a30a1ac79c928dc912aab1ca8e19105a087797fecf5f7303e8828554fd6"
PLAN = """
title: One language model
model: SmolLM2-135M-Instruct
tasks:
  hamlet: {kind: causal-lm, data: hamlet, calibration: [20_newsgroups], selection: [reuters_r8],
           held_out: [sotu_since_2000, plots, bbc], steps: 5}
parts:
  - name: confirm
    stage: confirmation
    tasks: [hamlet]
    shots: [16]
    seeds: [1, 2]
    methods: [{name: adamw, learning_rate: 1e-4}, {name: lora, learning_rate: 1e-3}]
    after: [{name: columns, of: [adamw, lora], strength: [0.1, 0.3]}]
    factors: [1, 0.5]
"""


def changed(**changes):
    content = yaml.safe_load(PLAN.replace("1e-", "1.0e-"))
    for path, value in changes.items():
        *ways, last = path.split("__")
        place = content
        for way in ways:
            place = place[int(way) if way.isdigit() else way]
        place[last] = value
    return yaml.safe_dump(content, sort_keys=False)


def test_a_plan_says_of_which_kind_a_task_is_and_is_written_as_it_was_read():
    plan = plan_from_text(PLAN)
    (task,) = plan.tasks
    assert isinstance(task, LanguageTask)
    assert (task.held_out, task.steps) == (("sotu_since_2000", "plots", "bbc"), 5)
    assert plan_from_text(plan_text(plan)) == plan
    assert sum(len(job.cells) for job in plan.jobs()) == 2 * (2 + 2 * 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks__hamlet__kind": "causal_lm"}, "no kind of task named 'causal_lm'; did you mean 'causal-lm'"),
        ({"tasks__hamlet__kind": ["causal-lm"]}, "kind of task"),
        ({"tasks__hamlet__probes": ["bbc"]}, "no key named 'probes'"),
        ({"tasks__hamlet__length": 1}, "length: 1 is no whole number of at least 2"),
        ({"tasks__hamlet__selection": "plots"}, r"a list is needed here, such as \[plots\]"),
        ({"tasks__hamlet__selection": ["plots"]}, "plots is in selection and in held_out"),
        (
            {"parts__0__methods__1__name": "prefix", "parts__0__after": []},
            "methods: prefix can do tasks of the kind classification, and task hamlet is of causal-lm",
        ),
    ],
)
def test_what_a_language_task_cannot_be_is_said_where_it_stands(change, message):
    with pytest.raises(ValueError, match=message):
        plan_from_text(changed(**change))


def test_a_task_does_not_start_from_one_of_another_kind():
    films = {"data": "rotten_tomatoes", "calibration": ["sotu"], "selection": "plots", "held_out": "bbc"}
    with pytest.raises(
        ValueError, match="first: hamlet is of the kind causal-lm, and films of classification"
    ):
        plan_from_text(changed(tasks__films={**films, "first": "hamlet"}))


def test_records_that_there_are_count_as_ever():
    plan = read_plan(STUDY / "study.yaml")
    found = read_records(STUDY, plan)
    assert not found.refused
    assert len(found.records) == len(list((STUDY / "cells").rglob("*.json"))) > 100
    assert {record.kind for record in found.records.values()} == {"classification"}


def test_a_digest_of_classes_knows_of_no_kind():
    task = StudyTask("films", "rotten_tomatoes", ("sotu",), "plots", "bbc")
    part = Part("one", "tuning", ("films",), (8,), (1,), (MethodGrid("adamw"),))
    plan = StudyPlan("study", "all-MiniLM-L6-v2", (task,), (part,))
    # As it was before there were other kinds.
    assert plan.task_digest(plan.jobs()[0]) == DIGEST
    assert "kind" not in asdict(task)


def records_of(monkeypatch, part, **options):
    monkeypatch.setattr(
        "spectral_opt.study.running.open_setting", lambda plan, job, device: tiny_language_setting(job.seed)
    )
    plan, found = StudyPlan("tiny", "tiny", (LANGUAGE_TASK,), (part,)), {}
    run_job(plan, plan.jobs()[0], on_record=lambda cell, record: found.update({cell.key: record}), **options)
    return list(found.values())


PART = Part(
    "part",
    "confirmation",
    ("counting",),
    (8,),
    (1,),
    (MethodGrid("adamw", {"learning_rate": (1e-2,)}),),
    (AfterGrid("scaling", options={"factor": (0.5,)}), AfterGrid("columns", options={"strength": (1.0,)})),
    factors=(1.0, 0.5),
    evaluate_every=3,
)


def test_cells_have_records_that_are_read_again(monkeypatch, tmp_path):
    trained, halved, columns = records_of(monkeypatch, PART, states=tmp_path)
    for record in (trained, halved, columns):
        assert record_from_json(record_text(record)).metrics == record.metrics
    assert (trained.kind, trained.config["settings"]["kind"]) == ("causal-lm", "causal-lm")
    whole, half = trained.metrics["points"]
    assert half["loss"] == pytest.approx(halved.metrics["points"][0]["loss"], rel=1e-5)  # float32 states
    assert columns.metrics["tuned"]["lost"] == whole["lost"]
    assert set(whole["texts"]) == {"fourth", "fifth"}
    assert whole["loss"] < trained.metrics["start"]["loss"]
    assert trained.metrics["curve"]["dev_step"] == [3, 6]
    assert "dev_accuracy" not in trained.metrics["curve"]
    assert not list(tmp_path.iterdir())  # weights that nothing needs any more


def test_a_record_without_its_score_is_corrupt(monkeypatch):
    (record,) = records_of(monkeypatch, replace(PART, after=()))
    del record.metrics["points"][0]["log_likelihood"]
    with pytest.raises(ValueError, match="the point at factor 1 has no number under log_likelihood"):
        record_from_json(record_text(record))
    unknown = replace(record, config={"settings": {"kind": "vision"}})
    with pytest.raises(
        ValueError, match="its task is of the kind 'vision'; there are classification, causal-lm"
    ):
        record_from_json(record_text(unknown))


def test_a_run_that_diverges_is_a_record(monkeypatch):
    wild = replace(PART, methods=(MethodGrid("adamw", {"learning_rate": (1e30,)}),))
    records = records_of(monkeypatch, wild)
    assert [record.status for record in records] == ["diverged"] * 3


@pytest.mark.parametrize("name", ["lora", "osf"])
def test_adapters_are_merged_into_the_model_s_own_names(name):
    setting = tiny_language_setting()
    before = state_of(setting.start)
    done = fine_tune(
        setting.start, setting.training[:2], get_method(name), learning_rate=1e-2, setting=setting
    )
    after = state_of(done.model)
    assert after.keys() == before.keys()
    assert done.is_mergeable
    moved = [key for key in after if not torch.equal(after[key], before[key])]
    assert moved
    assert all("proj" in key for key in moved)
    assert all(torch.equal(value, before[key]) for key, value in setting.start.state_dict().items())
