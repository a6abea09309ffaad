"""The main job from end to end: on a tiny model and invented text in seconds, and on the embedded ones, small."""

import contextlib
import importlib.util
import io
import json
import os
import re
import stat
import warnings
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from paramgraph import NotConvergedError
from spectral_opt.cli import main
from spectral_opt.demo import Demo, DemoOptions, FinishedWork, make_setting, pool_evidence


@dataclass(frozen=True)
class Finished:
    code: int
    folder: Path
    out: str
    err: str

    @property
    def results(self) -> dict:
        return json.loads((self.folder / "results.json").read_text())

    @property
    def page(self) -> str:
        return (self.folder / "report.html").read_text()

    @property
    def last_line(self) -> str:
        return self.err.strip().splitlines()[-1]


def run(arguments: list[str], folder: Path, *more: str) -> Finished:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*arguments, "--out", str(folder), *more])
    return Finished(code, folder, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def model(word_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model with two matrices that no gradient reaches, as what is between them is zero."""
    folder = tmp_path_factory.mktemp("unreached") / word_model_folder.name
    encoder = AutoModel.from_pretrained(word_model_folder)
    # GELU and its derivative are exactly zero there.
    torch.nn.init.constant_(encoder.encoder.layer[0].intermediate.dense.bias, -50.0)
    encoder.save_pretrained(folder)
    AutoTokenizer.from_pretrained(word_model_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def arguments(model: Path, texts: dict[str, Path]) -> list[str]:
    given = {"model": model, "data": texts["labelled"]}
    given |= {name: texts[name] for name in ("preserve", "retention")}
    return ["demo", "--quick", *(word for name, path in given.items() for word in (f"--{name}", str(path)))]


@pytest.fixture(scope="module")
def finished(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(arguments, tmp_path_factory.mktemp("demo") / "out")


def losses(found: dict) -> list[list[float]]:
    return [row["losses"] for row in found["training"]]


def test_a_run_leaves_a_table_numbers_records_and_a_page(finished):
    assert finished.code == 0
    assert "AdamW" in finished.out
    assert "A demonstration, not a claim" in finished.out
    assert finished.out.strip().splitlines()[-1].startswith("Conclusion: ")
    assert "left" in finished.err
    left = {path.name for path in finished.folder.rglob("*")}
    assert left == {"records.jsonl", "report.html", "results.csv", "results.json"}
    found = finished.results
    assert len(found["graphs"]) >= 5
    two_by_two = {"adamw", "spectral_penalty", "spectral_filter", "spectral_both"}
    assert two_by_two | {"l2sp"} <= {row["method"] for row in found["training"]}
    assert {row["spectral"]["builder"] for row in found["refinement"] if row["spectral"]} == {"gram"}
    assert {row["is_null"] for row in found["refinement"]} == {True, False}


def test_matrices_that_no_gradient_reaches_are_left_out_by_name_and_reason(finished):
    found = finished.results
    left = {(one["part"], one["name"]): one["reason"] for one in found["left_out"]}
    names = {f"encoder.encoder.layer.0.{one}.dense.weight" for one in ("intermediate", "output")}
    for name in names:
        assert left["graphs", name] == "no text's gradient reaches it"
        assert "no text's gradient reaches it" in left["spectral penalty", name]
    assert {name for _, name in left} == names
    assert {graph["matrices"] for graph in found["graphs"]} == {4}
    assert "Matrices left out, graphs, spectral penalty, spectral filter, " in finished.out


def test_records_say_what_ran(finished):
    records = [json.loads(line) for line in (finished.folder / "records.jsonl").read_text().splitlines()]
    needed = {"method", "task", "seed", "config", "versions", "hardware", "metrics", "seconds", "stage"}
    assert all(needed <= set(record) for record in records)
    assert {record["stage"] for record in records} == {"tuning", "exploration"}
    assert all(record["seconds"] > 0 for record in records)


def without_seconds(found):
    """Leave out what a run takes, which is never twice the same."""
    if isinstance(found, dict):
        return {
            name: without_seconds(one) for name, one in found.items() if name not in ("seconds", "command")
        }
    return [without_seconds(one) for one in found] if isinstance(found, list) else found


def test_what_was_interrupted_goes_on_to_the_same_numbers_in_one_line_each(
    finished, arguments, tmp_path, monkeypatch
):
    folder, advance, told = tmp_path / "again", [], []

    class Stopping(Demo):
        def __post_init__(self):
            super().__post_init__()
            told.append(set(self.work.known))
            inner = self.advance

            def stop(work, what):
                inner(work, what)
                advance.append(what)
                if len(told) < 3 and len(self.work.known) >= 8 * len(told):
                    raise KeyboardInterrupt

            self.advance = stop

    monkeypatch.setattr("spectral_opt.demo.Demo", Stopping)
    for _ in range(2):
        stopped = run(arguments, folder)
        assert stopped.code == 130
        assert "pieces are kept, and the same command goes on from them" in stopped.last_line
        assert "Traceback" not in stopped.err
    # Nor does a line that was cut off matter: it is named, and its piece made again.
    work = folder / "unfinished" / "work.jsonl"
    work.write_bytes(work.read_bytes()[:-40])
    with warnings.catch_warnings(action="default"):
        done = run(arguments, folder)
    assert done.code == 0
    assert "work.jsonl: line 17; what stood there is made again" in done.err
    assert "going on after 15 finished pieces" in done.err
    assert without_seconds(done.results) == without_seconds(finished.results)
    # All graphs were measured before the first interruption; the time that they took is not forgotten.
    assert done.results["seconds"]["graphs"] > 0.1 * finished.results["seconds"]["graphs"]
    count = len((finished.folder / "records.jsonl").read_text().splitlines())
    assert len((folder / "records.jsonl").read_text().splitlines()) == count


def test_other_texts_under_the_same_name_are_other_work(word_model_folder, texts, tmp_path):
    names = {name: str(texts[name]) for name in ("preserve", "retention")}
    changed = tmp_path / texts["retention"].name
    changed.write_bytes(texts["retention"].read_bytes())
    options = DemoOptions(
        **names | {"retention": str(changed)}, model=str(word_model_folder), data=str(texts["labelled"])
    )
    asked = make_setting(options.quick()).identity()
    assert make_setting(options.quick()).identity() == asked
    header, *rows = changed.read_text().splitlines()
    changed.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert make_setting(options.quick()).identity() != asked


def test_another_model_and_data_are_named_in_the_report(finished, model):
    assert model.name in finished.page
    assert "labelled" in finished.page
    assert "MiniLM" not in finished.page


def test_the_pieces_of_another_run_are_refused_by_what_differs_and_stay(arguments, tmp_path, monkeypatch):
    def interrupted(self):
        self.work.once("one", lambda: 1)
        raise KeyboardInterrupt

    folder = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Demo, "measure_graphs", interrupted)
        assert run(arguments, folder).code == 130
    kept = (folder / "unfinished" / "work.jsonl").read_bytes()
    other = run(arguments, folder, "--seed", "1")
    assert other.code == 2
    assert "holds another demonstration (of other" in other.last_line
    assert "give another folder, or remove work.jsonl in it" in other.last_line
    assert (folder / "unfinished" / "work.jsonl").read_bytes() == kept


def test_only_what_a_matrix_itself_causes_is_kept_as_left_out(arguments, tmp_path, monkeypatch):
    folder, failing = tmp_path / "out", [NotConvergedError("no spectrum"), RuntimeError("no room")]

    def interrupted(self):
        raise KeyboardInterrupt

    def failed(*given):
        raise failing.pop(0)

    with monkeypatch.context() as patched:
        patched.setattr("spectral_opt.demo.parts.measure_table", failed)
        with pytest.raises(RuntimeError, match="no room"):
            run(arguments, folder)
    monkeypatch.setattr(Demo, "train_methods", interrupted)
    assert run(arguments, folder).code == 130
    pieces = [json.loads(line) for line in (folder / "unfinished" / "work.jsonl").read_text().splitlines()]
    reasons = [piece["value"]["left_out"] for piece in pieces if "piece" in piece]
    assert reasons[0] == "no spectrum"
    # Two that no gradient reaches; the one for which there was no room then is measured.
    assert sorted(filter(None, reasons[1:])) == ["no text's gradient reaches it"] * 2


def test_another_seed_and_shuffled_labels_give_other_numbers_for_machines(finished, arguments, tmp_path):
    shuffled = run(arguments, tmp_path / "shuffled", "--seed", "1", "--shuffle-labels", "--json", "--quiet")
    assert json.loads(shuffled.out) == shuffled.results
    assert shuffled.err == ""
    assert losses(finished.results) != losses(shuffled.results)
    learned = [row["accuracy"] for row in finished.results["training"]]
    chance = [row["accuracy"] for row in shuffled.results["training"]]
    # 200 test texts: chance is 0.5 with a standard error of 0.035; four of them, as the methods share a test set.
    assert max(abs(value - 0.5) for value in chance) < 0.14
    assert min(learned) > 0.75
    assert "Labels are shuffled" in shuffled.page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_of_the_page_is_wider_than_a_phone(finished, browser, scheme):
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.goto((finished.folder / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_page_is_self_contained(finished):
    outside = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            outside.extend(value for name, value in attributes if name in ("src", "href") and value[0] != "#")

    Links().feed(finished.page)
    assert outside == []
    assert not re.search(r"url\((?!#)", finished.page)
    assert finished.page.count("<svg") >= 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--model", "no/such/model/at/all"], "no folder"),
        (["--data", "missing.csv"], "missing.csv"),
        (["--label-column", "verdict"], "verdict"),
        (["--text-column", "body"], "body"),
        (["--per-class", "4000"], "4000"),
        (["--test-size", "450"], "86 texts are left beside train, dev and test, and 128 are needed"),
        (["--retention", "missing.csv"], "missing.csv"),
        (["--steps", "0"], "--steps is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (
            ["--seed", "1" + "0" * 20],
            "--seed is 100000000000000000000: at most 9223372036854775807 is allowed",
        ),
        (["--steps", "10000000000"], "--steps is 10000000000: at most 100000 is allowed"),
        (["--permutations", "99"], "--permutations is 99: at least 119"),
        (["--long-rate", "-1"], "--long-rate has -1"),
        (["--max-length", "4000"], "max_length is 4000"),
        (["--learning-rates", "0"], "--learning-rates"),
        (["--learning-rates", "1e-4", "5e-5", "1e-4"], "--learning-rates has 0.0001 twice"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_before_training(arguments, changes, message, tmp_path):
    stopped = run(arguments, tmp_path / "out", *changes)
    assert stopped.code == 2
    assert stopped.last_line.startswith("spectral-opt: ")
    assert message in stopped.last_line
    assert not (tmp_path / "out" / "records.jsonl").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["text,label"], "empty"),
        (["text,label", *[f"word {i},same" for i in range(50)]], "one class"),
        (["text,label", "alone,rare", *[f"word {i},same" for i in range(50)]], "rare"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused(arguments, rows, message, tmp_path):
    broken = tmp_path / "broken.csv"
    broken.write_text("\n".join(rows) + "\n")
    stopped = run(arguments, tmp_path / "out", "--data", str(broken))
    assert stopped.code == 2
    assert message in stopped.last_line


def test_a_column_of_no_data_is_refused(tmp_path):
    stopped = run(["demo"], tmp_path / "out", "--text-column", "review")
    assert stopped.code == 2
    assert "--text-column is of data of your own" in stopped.last_line


def test_a_missing_extra_is_named_before_any_work(arguments, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *more: None if name == "matplotlib" else find_spec(name, *more),
    )
    stopped = run(arguments, tmp_path / "out")
    assert stopped.code == 2
    assert stopped.last_line == "spectral-opt: the demo needs matplotlib: pip install 'paramgraph[demo]'"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_first(arguments, tmp_path):
    (tmp_path / "file").write_text("in the way")
    stopped = run(arguments, tmp_path / "file", "--steps", "1")
    assert stopped.code == 2
    assert "cannot write to" in stopped.last_line
    assert "loading" not in stopped.err


def test_a_folder_without_permission_is_refused_first(arguments, tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IREAD | stat.S_IEXEC)
    if os.geteuid() == 0:
        # The administrator may write anywhere; the refusal is then the operating system's in name only.
        monkeypatch.setattr("tempfile.TemporaryFile", _refused)
    stopped = run(arguments, locked)
    assert stopped.code == 2
    assert "cannot write to" in stopped.last_line


def _refused(**_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_loss_that_is_no_number_stops_with_step_and_what_was_saved(arguments, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "records.jsonl").write_text("of an earlier run")
    stopped = run(arguments, tmp_path / "out", "--learning-rates", "1e-4", "1e30")
    assert stopped.code == 2
    assert re.search(r"the loss is (nan|inf) at step \d+ of 6", stopped.last_line)
    # Those of the graphs of six matrices.
    assert "6 finished pieces are kept in" in stopped.last_line
    assert len((tmp_path / "out" / "unfinished" / "work.jsonl").read_text().splitlines()) == 7
    assert (tmp_path / "out" / "records.jsonl").read_text() == "of an earlier run"


def test_on_the_embedded_model_and_text_gradients_share_low_frequencies(tmp_path):
    # Half of the tokens, and the four smaller matrices of the layer, say it as well.
    setting = make_setting(replace(DemoOptions().quick(), max_length=24))
    setting = replace(setting, tables={name: t for name, t in setting.tables.items() if "attention" in name})
    assert (setting.loaded.name, setting.data.name) == ("all-MiniLM-L6-v2", "rotten_tomatoes")
    demo = Demo(setting, FinishedWork(tmp_path, {}), lambda work, what: None)
    demo.measure_graphs()
    graphs, verdict = pool_evidence(demo.cells, setting.options.permutations)
    found = {graph["name"]: graph for graph in graphs}["cosine of gradients"]
    # The one finding that is far from its null on any seed; the null's share is even, but for what all rows share.
    assert found["carries"]
    assert found["compaction"] > 0.3
    assert found["compaction_permuted"] == pytest.approx(0.2, abs=0.03)
    assert "carries the gradients" in verdict


@pytest.mark.slow
def test_the_embedded_default_runs_to_its_end(tmp_path):
    found = run(["demo", "--quick"], tmp_path / "embedded")
    assert found.code == 0
    assert min(row["accuracy"] for row in found.results["training"]) > 0.5
