"""The manual's page on studies: its examples and its method run, its plan is read, its tables name what there is."""

import doctest
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import torch

from paramgraph.cli import read_command
from spectral_opt.cli import COMMANDS
from spectral_opt.study import (
    CellRecord,
    LanguageTask,
    Method,
    Part,
    StudyPlan,
    StudyTask,
    Task,
    fine_tune,
    plan_from_text,
    read_hypotheses,
    read_plan,
)
from spectral_opt.study.statistics import Kind

from helpers.study_records import synthetic_plan, synthetic_records
from helpers.study_settings import tiny_setting

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "studies.md"
STAGES = ("tuning", "confirmation")
TEXT = PAGE.read_text(encoding="utf-8")


def first_cells(head: str) -> list[str]:
    table = TEXT.split(f"| {head} |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:]))


def test_examples_run_as_they_are_printed() -> None:
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    tested = doctest.testfile(str(PAGE), module_relative=False, optionflags=options, encoding="utf-8")
    assert tested.attempted > 10
    assert tested.failed == 0


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("key of the plan", StudyPlan),
        ("key of a task", StudyTask),
        ("key of a language task", LanguageTask),
        ("key of a part", Part),
        ("field", CellRecord),
    ],
)
def test_the_tables_name_every_field_once(head: str, kind: type) -> None:
    named = [field.name for field in fields(kind)]
    assert sorted(first_cells(head)) == sorted(set(named) - ({"name"} if issubclass(kind, Task) else set()))


def test_the_table_of_kinds_names_all_of_them() -> None:
    assert sorted(first_cells("kind")) == sorted(get_args(Kind))


def test_the_table_of_metrics_names_what_a_record_has() -> None:
    plan = synthetic_plan(1, tasks=("rotten_tomatoes",), methods=("adamw",), after=("product",))
    records = synthetic_records(plan).values()
    assert sorted(first_cells("metric")) == sorted({name for record in records for name in record.metrics})


def test_the_plan_of_the_language_models_is_what_the_page_says() -> None:
    plan = read_plan(PAGE.parents[1] / "records" / "language_models" / "study.yaml")
    assert {task.kind for task in plan.tasks} == {"causal-lm"}
    cells = sum(len(job.cells) for job in plan.jobs())
    assert f"{cells} cells" in TEXT
    tuned, confirmed = (
        {seed for part in plan.parts if part.stage == stage for seed in part.seeds} for stage in STAGES
    )
    assert (len(tuned), len(confirmed)) == (1, 5)


def test_the_plan_is_read_and_its_hypothesis_is_one() -> None:

    plan = plan_from_text(re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)[0])
    assert [part.name for part in plan.parts] == ["tuning", "posthoc"]
    assert read_hypotheses(plan)[0].id == "H1"


def test_the_method_of_the_page_trains() -> None:
    source = next(
        block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "METHOD =" in block
    )
    names: dict[str, object] = {"__name__": "manual"}
    exec(source, names)
    method, setting = names["METHOD"], tiny_setting()
    assert isinstance(method, Method)
    done = fine_tune(setting.start, setting.training, method, learning_rate=0.1, setting=setting)
    moved = [
        not torch.equal(before, after)
        for before, after in zip(setting.start.parameters(), done.model.parameters(), strict=True)
    ]
    assert any(moved)


@pytest.mark.parametrize(
    "line", [one for one in TEXT.splitlines() if one.startswith("    spectral-opt study ")]
)
def test_commands_are_understood(line: str) -> None:
    words = shlex.split(line.split("#")[0])
    assert read_command("spectral-opt", "", COMMANDS, words[1:])
