"""The main job from end to end: on a tiny model and invented text in seconds, and on the embedded ones, small."""

import json
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest

from spectral_opt.cli import main


@pytest.fixture
def arguments(word_model_folder: Path, texts: dict[str, Path], tmp_path: Path) -> list[str]:
    return [
        "demo", "--quick", "--model", str(word_model_folder), "--data", str(texts["labelled"]),
        "--preserve", str(texts["preserve"]), "--retention", str(texts["retention"]), "--out", str(tmp_path / "out"),
    ]  # fmt: skip


def results(arguments: list[str]) -> dict:
    return json.loads((Path(arguments[arguments.index("--out") + 1]) / "results.json").read_text())


def numbers(found: dict) -> list[float]:
    return [row["losses"] for row in found["training"]]


def test_a_run_leaves_a_table_numbers_records_and_a_page(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "AdamW" in shown.out
    assert "A demonstration, not a claim" in shown.out
    assert "left" in shown.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "records.jsonl", "report.html", "results.csv", "results.json",
    }  # fmt: skip
    found = results(arguments)
    assert len(found["graphs"]) >= 5
    assert {row["method"] for row in found["training"]} >= {
        "adamw",
        "l2sp",
        "spectral_penalty",
        "spectral_filter",
    }
    assert {row["is_null"] for row in found["refinement"]} == {True, False}


def test_records_say_what_ran(arguments, tmp_path):
    main(arguments)
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    needed = {"method", "task", "seed", "config", "versions", "hardware", "metrics", "seconds", "stage"}
    assert all(needed <= set(record) for record in records)
    assert {record["stage"] for record in records} == {"tuning", "exploration"}


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(arguments):
    main([*arguments, "--seed", "0"])
    first = results(arguments)
    main([*arguments, "--seed", "0"])
    again = results(arguments)
    main([*arguments, "--seed", "1"])
    other = results(arguments)
    assert numbers(first) == numbers(again)
    assert numbers(first) != numbers(other)
    assert first["graphs"][0]["bands"] != other["graphs"][0]["bands"]


def test_another_model_and_data_are_named_in_the_report(arguments, tmp_path, word_model_folder):
    main(arguments)
    page = (tmp_path / "out" / "report.html").read_text()
    assert word_model_folder.name in page
    assert "labelled" in page
    assert "MiniLM" not in page


def test_with_shuffled_labels_accuracy_is_at_chance_and_without_it_is_not(arguments):
    main(arguments)
    learned = [row["accuracy"] for row in results(arguments)["training"]]
    main([*arguments, "--shuffle-labels"])
    chance = [row["accuracy"] for row in results(arguments)["training"]]
    # 200 test texts: chance is 0.5 with a standard error of 0.035; four of them, since the methods share a test set.
    assert max(abs(value - 0.5) for value in chance) < 0.14
    assert min(learned) > 0.75


def test_the_page_is_self_contained(arguments, tmp_path):
    main(arguments)
    page = (tmp_path / "out" / "report.html").read_text()
    outside = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            outside.extend(
                value for name, value in attributes if name in ("src", "href") and not value.startswith("#")
            )

    Links().feed(page)
    assert outside == []
    assert not re.search(r"url\((?!#)", page)
    assert page.count("<svg") >= 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--model", "no/such/model/at/all"], "no folder"),
        (["--data", "missing.csv"], "missing.csv"),
        (["--label-column", "verdict"], "verdict"),
        (["--text-column", "body"], "body"),
        (["--per-class", "4000"], "4000"),
        (["--steps", "0"], "--steps is 0"),
        (["--learning-rates", "0"], "--learning-rates"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_before_training(arguments, changes, message, tmp_path, capsys):
    assert main([*arguments, *changes]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("spectral-opt: ")
    assert message in error
    assert not (tmp_path / "out" / "records.jsonl").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["text,label"], "empty"),
        (["text,label", *[f"word {i},same" for i in range(50)]], "one class"),
        (["text,label", "alone,rare", *[f"word {i},same" for i in range(50)]], "rare"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused(arguments, rows, message, tmp_path, capsys):
    broken = tmp_path / "broken.csv"
    broken.write_text("\n".join(rows) + "\n")
    assert main([*arguments, "--data", str(broken)]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_folder_that_cannot_be_written_is_refused_first(arguments, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main([*arguments, "--out", str(tmp_path / "file")]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_a_folder_without_permission_is_refused_first(arguments, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IREAD | stat.S_IEXEC)
    code = main([*arguments, "--out", str(locked)])
    # The administrator may write anywhere: then there is nothing to refuse.
    assert code == (0 if os.geteuid() == 0 else 2)


def test_a_loss_that_is_no_number_stops_with_step_and_what_was_saved(arguments, tmp_path, capsys):
    assert main([*arguments, "--learning-rates", "1e30", "--steps", "6"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(r"the loss is nan at step \d+ of 6", error)
    assert re.search(r"\d+ finished runs are saved in .*records.jsonl", error)


def test_the_embedded_default_runs_and_beats_chance(tmp_path):
    out = tmp_path / "embedded"
    assert main(["demo", "--quick", "--out", str(out)]) == 0
    found = json.loads((out / "results.json").read_text())
    assert found["model"] == "all-MiniLM-L6-v2"
    assert found["data"] == "rotten_tomatoes"
    gradients = next(graph for graph in found["graphs"] if graph["name"] == "cosine of gradients")
    # The one finding that is far from its null on any seed: gradients of other texts share the low frequencies.
    assert gradients["bands"]["energy_share"][0] > 0.3
    assert gradients["null_bands"]["energy_share"][0] == pytest.approx(0.2, abs=0.03)
