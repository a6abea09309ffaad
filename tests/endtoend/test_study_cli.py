"""`spectral-opt study` from end to end, on a tiny model and invented text."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from spectral_opt.cli import main
from spectral_opt.study import plan_text, read_plan, read_records
from spectral_opt.study.scheduling import begin_study, locked, run_study

from helpers.study_jobs import FakeJob, small_plan


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


def study(*words: object) -> Finished:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["study", *map(str, words)])
    return Finished(code, out.getvalue(), err.getvalue())


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A study of eight cells that has all of its records."""
    folder = tmp_path / "study"
    begin_study(folder, small_plan())
    run_study(folder, small_plan(), workers=0, run=FakeJob(tmp_path / "log", diverges="/0/l2sp"))
    return folder


def test_the_group_has_a_help_and_so_has_each_of_its_commands() -> None:
    shown = study("--help")
    assert shown.code == 0
    assert "Usage: spectral-opt study" in shown.out
    assert all(word in shown.out for word in ("run", "status", "verify"))
    assert "--scheduler" in study("run", "--help").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "COMMAND is missing: run, status, verify, report; spectral-opt study --help says more"),
        (["run", "{new}"], "no study in .*--preset"),
        (["run", "{new}", "--preset", "quik"], "no plan of a study at quik.*quick"),
        (["run", "{new}", "--preset", "quick", "--workers", "0"], "--workers is 0"),
        (
            ["run", "{new}", "--preset", "quick", "--scheduler", "tcp://x:1", "--workers", "3"],
            "--workers .* would be ignored",
        ),
        (["run", "{new}", "--preset", "quick", "--minutes", "-1"], "--minutes is -1"),
        (["run", "{full}", "--preset", "quick"], "is not empty and holds no study"),
        (["run", "{old}", "--preset", "quick"], "holds another study: 8 of its 8 records would be foreign"),
        (["run", "{old}", "--part", "two"], "no part of the study named 'two' .available: one."),
        (["status", "{new}"], "no study in .*study run .* --preset quick"),
        (["verify", "{old}", "--cells", "0"], "--cells is 0"),
        (["verify", "{old}", "--seed", "-1"], "--seed is -1: at least 0 is needed"),
        (["go"], "No such command 'go'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, recorded: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    places = {"new": tmp_path / "new", "full": tmp_path / "full", "old": recorded}
    shown = study(*(word.format(**places) for word in words))
    last = shown.err.strip().splitlines()[-1]
    assert shown.code == 2
    assert last.startswith("spectral-opt: ")
    with pytest.raises(ValueError, match=message):
        raise ValueError(last)
    assert not (tmp_path / "new").exists()


def test_a_finished_study_has_nothing_left_to_run(recorded: Path) -> None:
    shown = study("run", recorded, "--json")
    assert shown.code == 0
    assert (json.loads(shown.out)["cells"], json.loads(shown.out)["measured"]) == (8, 0)
    assert "8 of 8 cells are recorded" in study("run", recorded).out


def test_status_as_a_table_and_as_json(recorded: Path) -> None:
    next(recorded.rglob("adamw-*.json")).write_text("")
    found = json.loads(study("status", recorded, "--json").out)
    assert (found["cells"], found["done"], found["diverged"], len(found["refused"])) == (8, 7, 1, 1)
    shown = study("status", recorded).out
    assert "7 / 8" in shown
    assert "refused: one/films-16-" in shown


def test_a_run_that_was_killed_before_its_plan_was_written_can_be_begun_again(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with locked(folder):
        pass
    shown = study("run", folder, "--preset", "quick", "--part", "none")
    assert "no part of the study named 'none'" in shown.err


def test_what_fails_for_one_reason_is_told_once(tmp_path: Path) -> None:
    begin_study(tmp_path / "study", replace(small_plan(), model="no-such-model"))
    finished = study("run", tmp_path / "study", "--workers", "1", "--quiet")
    assert finished.code == 1
    (told,) = [line for line in finished.out.splitlines() if line.startswith("failed")]
    assert "and 5 more: ModelError: " in told
    assert told.count("no-such-model") == 1
    assert "8 cells failed" in finished.out


def test_a_study_that_is_being_run_is_left_alone(recorded: Path) -> None:
    with locked(recorded):
        shown = study("run", recorded)
    assert shown.code == 2
    assert f"another run is at work in {recorded}: process {os.getpid()}" in shown.err


@pytest.fixture
def word_plan(tmp_path: Path, word_model_folder: Path, texts: dict[str, Path]) -> Path:
    """A plan of a tiny model and invented opinions: two seeds of a fine-tune and its filter."""
    plan = tmp_path / "words.yaml"
    plan.write_text(f"""
title: Words
model: {word_model_folder}
tasks:
  opinions:
    data: {texts["labelled"]}
    calibration: [{texts["preserve"]}]
    selection: plots
    held_out: {texts["retention"]}
    steps: 6
    batch_size: 8
    max_length: 16
    dev_per_class: 10
    test_size: 40
    preserved: 16
    neighbours: 20
    preserved_length: 16
parts:
  - name: one
    stage: exploration
    tasks: [opinions]
    shots: [8]
    seeds: [0, 1]
    methods: [{{name: adamw, learning_rate: 1e-3}}]
    after: [{{name: product, of: [adamw]}}]
    factors: [1, 0.5]
    evaluate_every: 3
""")
    return plan


@pytest.mark.slow
def test_a_real_study_is_run_added_to_and_verified(word_plan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shown = study("run", folder, "--preset", word_plan, "--workers", 1)
    assert shown.code == 0, shown.err
    assert "4 of 4 cells are recorded" in shown.out
    assert (folder / "study.yaml").read_text() == plan_text(read_plan(word_plan))
    word_plan.write_text(word_plan.read_text().replace("[0, 1]", "[0, 1, 2]"))
    shown = study("run", folder, "--preset", word_plan, "--workers", 1)
    assert "changed in the plan: parts.one.seeds: 2 added" in shown.err
    assert "6 of 6 cells are recorded" in shown.out
    shown = study("verify", folder, "--cells", "6")
    assert shown.code == 0, shown.out
    assert shown.out.count("as recorded") == 6
    file = next(folder.rglob("adamw+product-*.json"))
    record = json.loads(file.read_text())
    record["metrics"]["points"][0]["auc"] += 0.1
    file.write_text(json.dumps(record))
    shown = study("verify", folder, "--cells", "6")
    assert shown.code == 1
    assert "points.0.auc is" in shown.out


@pytest.mark.slow
def test_the_quick_study_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    words = [sys.executable, "-m", "spectral_opt", "study", "run", str(folder), "--preset", "quick"]
    process = subprocess.Popen(words, env=process_environment())
    while not list(folder.rglob("cells/**/*.json")):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    plan = read_plan("quick")
    kept = read_records(folder, plan).records
    assert kept
    assert subprocess.run(words[:-2], env=process_environment(), check=False).returncode == 0
    found = read_records(folder, plan)
    assert len(found.records) == sum(len(job.cells) for job in plan.jobs())
    assert not found.refused
    assert {key: found.records[key] for key in kept} == kept


def process_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
