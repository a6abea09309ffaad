"""What the page of results shows of a study's records, tried on records that are made up."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import study_results

from spectral_opt.study import AfterGrid, save_plan, write_record
from spectral_opt.study.report import Overview

from helpers.study_records import diverged, synthetic_plan, synthetic_records


def test_table_and_front_come_from_the_records_of_a_folder(tmp_path: Path) -> None:
    plan = synthetic_plan(3, methods=("adamw",), after=("product",), nulls=("permuted",))
    records = synthetic_records(plan)
    cells = {cell.key: cell for job in plan.jobs() for cell in job.cells}
    save_plan(tmp_path, plan)
    for key, record in records.items():
        write_record(tmp_path, cells[key], record)
    overview = study_results.read(tmp_path)
    assert overview is not None
    table = study_results.results_table(overview)
    assert [row[0] for row in table.rows] == ["adamw+product", "adamw+product (permuted)"]
    assert table.muted == {1}
    # A third is lost, at nearly the score.
    assert all(0.3 < float(cell.split()[0]) < 0.6 for cell in table.rows[0][1:])
    assert all(float(cell.split()[0]) > 0.8 for cell in table.rows[1][1:])
    own = study_results.results_table(overview, study_results.AT_OWN)
    assert [row[0] for row in own.rows] == [row[0] for row in table.rows]
    assert own.rows != table.rows
    assert all(float(cell.split()[0]) < 0.8 for cell in own.rows[0][1:])
    assert all(float(cell.split()[0]) > 0.8 for cell in own.rows[1][1:])
    told = study_results.results_part(overview)
    assert f"{len(records)} of {len(records)} cells" in told
    assert table.to_markdown() in told
    assert own.to_markdown() in told
    drawn = study_results.write_figure(overview, tmp_path)
    assert drawn is not None
    assert drawn.read_text(encoding="utf-8").startswith("<?xml")


def test_tasks_with_parts_and_frozen_options_of_their_own_stand_in_one_row(tmp_path: Path) -> None:
    plan = synthetic_plan(2, ("rotten_tomatoes", "20_newsgroups"), ("adamw",), ("product",))
    first = next(part for part in plan.parts if part.name == "posthoc")

    def frozen(own: float, null: float) -> tuple[AfterGrid, ...]:
        options = ({"strength": (own,)}, {"strength": (null,), "null": ("permuted",)})
        return tuple(AfterGrid("product", options=one) for one in options)

    films = replace(first, tasks=("rotten_tomatoes",), after=frozen(1.0, 30.0))
    news = replace(first, name="posthoc_20", tasks=("20_newsgroups",), shots=(50,), after=frozen(3.0, 10.0))
    plan = replace(plan, parts=(films, news))
    overview = Overview(plan, synthetic_records(plan), {})
    table = study_results.results_table(overview)
    assert table.header == ("method", "rotten_tomatoes, 500 a class", "20_newsgroups, 50 a class")
    assert [row[0] for row in table.rows] == ["adamw+product", "adamw+product (permuted)"]
    assert all(all(row) for row in table.rows)
    drawn = study_results.write_figure(overview, tmp_path)
    assert drawn is not None
    assert "20_newsgroups, 50 a class" in drawn.read_text(encoding="utf-8")
    assert study_results.FRONT in study_results.results_part(overview)


def test_what_trains_is_told_by_accuracy_steps_and_seconds() -> None:
    plan = synthetic_plan(3, methods=("linear_probe", "adamw", "soap", "spectral_filter"), after=("product",))
    overview = Overview(plan, synthetic_records(plan), {})
    steps, seconds, accuracy = (
        study_results.results_table(overview, question)
        for question in (study_results.STEPS, study_results.SECONDS, study_results.ACCURACY)
    )
    assert len(set(steps.header)) == len(steps.header)
    found, costs = (
        {row[0]: [float(cell.split()[0].replace("∞", "inf")) for cell in row[1:]] for row in table.rows}
        for table in (steps, seconds)
    )
    # The faster of the two needs fewer steps, and more seconds.
    assert all(ratio < 1 for ratio in found["soap"])
    assert all(ratio > 1 for ratio in found["spectral_filter"])
    assert all(ratio > 1 for ratio in costs["soap"])
    assert {row[0] for row in accuracy.rows} == {"soap", "spectral_filter"}
    assert all(cell.startswith(("+", "-")) for row in accuracy.rows for cell in row[1:])
    told = study_results.results_part(overview)
    assert all(table.to_markdown() in told for table in (steps, seconds, accuracy))


def test_a_method_of_which_every_run_diverged_has_its_row() -> None:
    plan = synthetic_plan(3, ("rotten_tomatoes",), ("linear_probe", "adamw", "soap"), ())
    records = synthetic_records(plan)
    ended = {key: diverged(one) if one.method == "soap" else one for key, one in records.items()}
    table = study_results.results_table(Overview(plan, ended, {}), study_results.ACCURACY)
    assert [(row[0], *(cell.split()[0] for cell in row[1:])) for row in table.rows] == [("soap", "-∞", "-∞")]


def test_other_methods_and_a_sequence_are_told_with_the_seeds_that_are_there() -> None:
    plan = synthetic_plan(3, ("rotten_tomatoes",), ("linear_probe", "adamw", "l2sp"), ("columns",))
    part = replace(next(part for part in plan.parts if part.name == "posthoc"), methods=plan.parts[2].methods)
    parts = (replace(part, name="appendix"), replace(part, name="sequence"))
    plan = replace(plan, parts=parts)
    records = synthetic_records(plan)
    for record in records.values():
        # The start has .9 on the earlier task, and each state .9 less a fifth of what it lost.
        if record.part == "sequence":
            for state in (*record.metrics["points"], record.metrics["start"]):
                state["earlier"] = {"films": 0.9 - 0.2 * state["lost"]}
    overview = Overview(plan, records, {})
    others, sequence = study_results.appendix_table(overview), study_results.sequence_table(overview)
    assert [row[0] for row in others.rows] == ["adamw+columns", "l2sp"]
    assert all(row[1].startswith(("+", "-")) for row in others.rows)
    assert float(others.rows[0][2].split()[0]) < 1
    assert [row[0] for row in sequence.rows] == [
        "before the second task",
        "linear_probe",
        "adamw",
        "adamw+columns",
        "l2sp",
    ]
    assert sequence.rows[0][2] == "0.900 [0.900, 0.900]"
    left = {row[0]: float(row[2].split()[0]) for row in sequence.rows}
    assert left["adamw"] < left["l2sp"] < left["before the second task"]
    assert all(", 3 seeds, " in table.caption for table in (others, sequence))
    told = study_results.results_part(overview)
    assert all(table.to_markdown() in told for table in (others, sequence))
    # An unfinished part says so: one run of a method is left out.
    lacking = {key: one for key, one in records.items() if (one.method, one.seed) != ("l2sp", 1000)}
    assert ", 2 to 3 seeds, " in study_results.appendix_table(Overview(plan, lacking, {})).caption
    empty = Overview(plan, {}, {})
    assert not study_results.appendix_table(empty).rows
    assert not study_results.sequence_table(empty).rows


def test_three_times_the_rate_is_told_of_its_own_part_alone() -> None:
    plan = synthetic_plan(3, ("rotten_tomatoes",), ("adamw", "l2sp"), ())
    tuning = plan.parts[0]
    parts = (tuning, replace(tuning, name="stability", stage="exploration", seeds=(1, 2, 3)))
    plan = replace(plan, parts=parts)
    overview = Overview(plan, synthetic_records(plan), {})
    table = study_results.stability_table(overview)
    assert [row[:3] for row in table.rows] == [
        (name, "stability: rotten_tomatoes, 16 a class", "0.0002") for name in ("adamw", "l2sp")
    ]
    assert not study_results.stability_table(Overview(plan, {}, {})).rows


def test_without_records_the_page_says_so(tmp_path: Path) -> None:
    assert study_results.results_part(study_results.read(tmp_path)) == study_results.NOTHING_YET


def test_what_is_left_of_a_change_is_told_as_the_records_have_it() -> None:
    overview = study_results.read(study_results.LANGUAGE_MODELS)
    assert overview is not None
    table = study_results.scaling_table(overview)
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == ["1", "0.85", "0.7", "0.6", "0.5", "0.4", "0.3"]
    states = [
        point
        for path in study_results.LANGUAGE_MODELS.glob("cells/refined_addresses/*/adamw-*.json")
        for point in json.loads(path.read_text(encoding="utf-8"))["metrics"]["points"]
        if point["factor"] == 0.5
    ]
    assert len(states) == 5
    for cell, measure in zip(rows["0.5"][2:], ("loss", "lost"), strict=True):
        assert cell.startswith(f"{fmean(state[measure] for state in states):.3f} [")


def test_strengths_that_were_tried_afterwards_are_told_of_the_tuning_seed() -> None:
    overview = study_results.read(study_results.LANGUAGE_MODELS)
    assert overview is not None
    told = study_results.results_table(overview, study_results.STRENGTHS)
    assert [row[0] for row in told.rows][::4] == [
        "adamw+columns (strength=0.1)",
        "adamw+product (strength=0.1)",
    ]
    assert len(told.rows) == 8
    assert all(float(value.split()[0]) >= 0.03 for _, value in told.rows)
