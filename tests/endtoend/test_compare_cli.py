"""`paramgraph compare` from end to end, on tiny models and invented text."""

import contextlib
import copy
import csv
import importlib.util
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from paramgraph import Comparison
from paramgraph.cli import THREADS, main
from paramgraph.comparison import _layer_workers as layer_workers

from helpers.saved_architectures import make_saved, save

FEW = ["--permutations", "19", "--nulls", "permuted"]
SMALL = [
    "--batches",
    "8",
    "--batch-size",
    "4",
    "--max-length",
    "12",
    "--targets",
    "query",
    "intermediate.dense",
]


@dataclass(frozen=True)
class Finished:
    code: int
    folder: Path
    out: str
    err: str

    @property
    def result(self) -> Comparison:
        return Comparison.from_json(self.folder / "comparison.json")

    @property
    def last_line(self) -> str:
        return self.err.strip().splitlines()[-1]


def run(model: Path | str, folder: Path, *more: str) -> Finished:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["compare", str(model), "--out", str(folder), *FEW, *more])
    return Finished(code, folder, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def tuned(word_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model after some training: the same folder with every weight moved."""
    folder = tmp_path_factory.mktemp("tuned") / "word-bert-tuned"
    shutil.copytree(word_model_folder, folder)
    generator = torch.Generator().manual_seed(7)
    weights = {
        name: value + 0.02 * torch.randn(value.shape, generator=generator)
        for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def finished(
    word_model_folder: Path, texts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """An encoder on labelled text."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    builders = ["--builders", "cosine_knn:k=4", "gram", "ring"]
    return run(word_model_folder, folder, "--data", str(texts["labelled"]), *SMALL, *builders)


def test_a_run_leaves_tables_numbers_and_a_page(finished):
    assert finished.code == 0, finished.err
    assert {path.name for path in finished.folder.iterdir()} == {
        "cells.csv",
        "comparison.json",
        "layers.jsonl",
        "report.html",
        "summary.csv",
    }
    assert "left" in finished.err
    rows = list(csv.DictReader((finished.folder / "summary.csv").read_text().splitlines()))
    # Two builders of three sources each; the ring asks for none.
    assert len(rows) == 7
    assert len(finished.result.cells) == 7 * 4
    assert not finished.result.failures
    page = (finished.folder / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)


def test_the_terminal_shows_each_construction_and_the_verdict(finished):
    for row in finished.result.summary_rows:
        assert row["construction"] in finished.out
    assert finished.result.verdict in " ".join(finished.out.split())
    assert "report.html" in finished.out


def test_what_was_left_out_of_the_text_is_said_before_the_work(word_model_folder, texts, tmp_path):
    task = tmp_path / "task.csv"
    task.write_text(texts["labelled"].read_text() + "blank one,\nblank two,nan\n")
    more = ("--data", str(task), *SMALL, "--builders", "ring", "cosine_knn:k=4", "--permutations", "0")
    found = run(word_model_folder, tmp_path / "out", *more)
    assert found.code == 0, found.err
    assert "2 dropped (no label: 1, label 'nan', which stands for none: 1)" in found.err
    assert "texts by class: " in found.err
    said = " ".join(found.out.split())
    assert "no permutations were asked for, so whether that is chance was not tested." in said


def test_the_record_has_command_origins_and_what_was_chosen(finished, word_model_folder):
    setting = finished.result.setting
    assert setting["command"].startswith(f"paramgraph compare {word_model_folder} --out ")
    assert setting["model"] == word_model_folder.name
    assert setting["batches"] == {"build": 4, "measure": 4}
    assert setting["signal"] == "gradients"
    chosen = " ".join(setting["chosen"])
    assert "linear probe" in chosen
    assert "file labelled.csv" in chosen


def test_layers_have_the_names_of_the_checkpoint(finished, word_model_folder, tmp_path):
    alone = run(word_model_folder, tmp_path / "out", *SMALL[-3:], "--builders", "ring")
    assert {cell["layer"] for cell in alone.result.cells} == {cell["layer"] for cell in finished.result.cells}
    assert set(alone.result.frame["layer"]) <= set(load_file(word_model_folder / "model.safetensors"))


def test_without_data_the_weights_are_read_and_the_model_never_loaded(
    word_model_folder, tmp_path, monkeypatch
):
    def refuse(*arguments, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", refuse)
    found = run(word_model_folder, tmp_path / "out", "--builders", "cosine_knn:k=4", "ring")
    assert found.code == 0, found.err
    assert {row["source"] for row in found.result.summary_rows} >= {"weights"}
    assert found.result.setting["signal"] == "weights"


def test_two_checkpoints_are_compared_by_their_update(word_model_folder, tuned, tmp_path):
    found = run(
        word_model_folder, tmp_path / "out", "--tuned", str(tuned), "--builders", "gram", "--targets", "query"
    )
    assert found.code == 0, found.err
    assert found.result.setting["signal"] == "updates"
    assert {row["source"] for row in found.result.summary_rows} == {"weights", "updates"}


def test_text_and_a_fine_tune_go_together(word_model_folder, tuned, texts, tmp_path):
    more = ("--data", str(texts["labelled"]), "--tuned", str(tuned), *SMALL, "--builders", "gram")
    found = run(word_model_folder, tmp_path / "out", *more, "--signal", "updates")
    assert found.code == 0, found.err
    assert {row["source"] for row in found.result.summary_rows} == {
        "weights",
        "activations",
        "batch_gradients",
        "updates",
    }
    assert not found.result.failures


def test_text_without_labels_gives_activations_and_no_gradients(word_model_folder, texts, tmp_path):
    more = ("--data", str(texts["preserve"]), *SMALL, "--builders", "gram")
    found = run(word_model_folder, tmp_path / "out", *more)
    assert found.code == 0, found.err
    assert found.result.setting["signal"] == "activations"
    refused = run(word_model_folder, tmp_path / "other", *more, "--sources", "gradients")
    assert refused.code == 2
    assert "there are no gradients" in refused.last_line
    assert "gives no labels" in refused.last_line


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--text-column", "review"),
        ("--batches", "6"),
        ("--task", "none"),
        ("--tune-steps", "2"),
        ("--sources", "gradients"),
    ],
)
def test_what_is_of_a_text_is_refused_where_there_is_none(word_model_folder, tmp_path, option, value):
    refused = run(word_model_folder, tmp_path / "out", option, value)
    assert refused.code == 2
    assert "--data, the text that the model runs on" in refused.last_line


def test_json_is_printed_alone_and_a_second_run_takes_what_is_there(
    finished, word_model_folder, texts, monkeypatch
):
    monkeypatch.setattr(layer_workers, "compare_layer", None)  # nothing is measured again
    again = run(
        word_model_folder,
        finished.folder,
        *("--data", str(texts["labelled"]), *SMALL, "--builders", "cosine_knn:k=4", "gram", "ring", "--json"),
    )
    assert again.code == 0, again.err
    assert json.loads(again.out)["cells"] == finished.result.to_dict()["cells"]


def test_an_interrupted_run_says_so_and_goes_on(word_model_folder, tmp_path, monkeypatch):
    arguments = (word_model_folder, tmp_path / "out", "--builders", "ring", "--targets", "query")
    real, measured = layer_workers.compare_layer, []

    def one_then_interrupted(reading, *more, **options):
        measured.append(reading.table.group)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(reading, *more, **options)

    monkeypatch.setattr(layer_workers, "compare_layer", one_then_interrupted)
    stopped = run(*arguments)
    assert stopped.code == 130
    assert "the same command goes on" in stopped.last_line
    assert run(*arguments).code == 0
    assert measured == [measured[0], measured[1], measured[1]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--builders", "rigs"], "did you mean 'ring'"),
        (["--builders", "cosine_knn:n=3"], "no option 'n'"),
        (["--sources", "weight"], "did you mean 'weights'"),
        (["--scheme", "row"], "did you mean 'rows'"),
        (["--targets", "querry"], "near names"),
        (["--data", "no-such-file.csv"], "no-such-file.csv"),
        (["--tuned", "./no/such/folder"], "no folder"),
        (["--batches", "0", "--data", "x"], "batches is 0"),
        (["--permutations", "-1"], "permutations"),
        (["--nulls", "permuted", "rotatd"], "did you mean 'rotated'"),
        (["--nulls", "none", "permuted"], "--nulls is none permuted: name null models, or none alone"),
        (["--memory-budget", "inf", "--workers", "1"], "--memory-budget is inf: a number of GB above 0"),
        (["--memory-budget", "-1", "--workers", "1"], "--memory-budget is -1: a number of GB above 0"),
        (["--seed", "3"], "--seed is of --verify, and would be ignored"),
        (["--cells", "3"], "--cells is of --verify, and would be ignored"),
        (["--verify", "x"], "MODEL is not of --verify, and would be ignored"),
        (["--tune-rate", "1e-3", "--data", "x"], "--tune-rate is of --tune-steps, which is 0"),
        (["--data", ""], "'--data': got ''"),
        (["--task", "translation", "--data", "x"], "no task 'translation'"),
    ],
)
def test_a_slip_is_one_line_and_code_2(word_model_folder, tmp_path, more, message):
    found = run(word_model_folder, tmp_path / "out", *more)
    assert found.code == 2
    assert message in found.last_line
    assert "Traceback" not in found.err


def test_an_unknown_signal_is_found_before_a_folder_is_made(word_model_folder, tmp_path):
    found = run(word_model_folder, tmp_path / "out", "--signal", "gradient")
    assert found.code == 2
    assert "did you mean 'gradients'" in found.last_line
    assert not found.folder.exists()


def test_missing_packages_and_folders_are_found_before_any_work(word_model_folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    found = run(word_model_folder, tmp_path / "file")
    assert (found.code, "name another folder with --out" in found.last_line) == (2, True)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pandas" else find_spec(name, *more)
    )
    found = run(word_model_folder, tmp_path / "out")
    assert (found.code, found.last_line) == (
        2,
        "paramgraph: compare needs pandas: pip install 'paramgraph[compare]'",
    )
    assert not (tmp_path / "out").exists()


def test_model_and_folder_are_asked_for(capsys, tmp_path):
    assert main(["compare"]) == 2
    assert "MODEL is missing" in capsys.readouterr().err
    assert main(["compare", "embedded"]) == 2
    assert "--out DIR is missing" in capsys.readouterr().err


def test_threads_are_set_before_torch_comes():
    script = (
        "import sys, os; from paramgraph.cli import THREADS, main; main(['compare']); "
        "assert 'torch' not in sys.modules; print(*(os.environ[name] for name in THREADS))"
    )
    clean = {"PATH": "/usr/bin:/bin"}
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=clean
    )
    assert shown.stdout.split() == list(THREADS.values())


def test_random_cells_of_a_record_come_out_again(finished, capsys):
    assert main(["compare", "--verify", str(finished.folder / "comparison.json"), "--cells", "2"]) == 0
    assert capsys.readouterr().out.count("agrees") == 2


def verify(values, folder, capsys, *words):
    """Verify a changed record, and give the exit code and what does not agree."""
    (folder / "changed.json").write_text(json.dumps(values))
    code = main(["compare", "--verify", str(folder / "changed.json"), "--cells", "1", "--json", *words])
    amiss = [row for row in json.loads(capsys.readouterr().out) if not row["agrees"]]
    return code, "; ".join(f"{row['cell']}: {row['differences']}" for row in amiss)


def test_a_record_that_does_not_come_out_again_is_named_and_ends_with_code_1(finished, tmp_path, capsys):
    record = json.loads((finished.folder / "comparison.json").read_text())
    for cell in record["cells"]:
        cell["compaction"] += 0.1
    code, amiss = verify(record, tmp_path, capsys)
    assert code == 1
    assert re.search(r"compaction of ring is [\d.]+ in the summary, [\d.]+ by the cells", amiss)
    assert re.search(r"compaction [\d.]+ recorded, [\d.]+ now", amiss)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("paramgraph compare --verify records", "which measures nothing"),
        ("paramgraph compare --help", "which measures nothing"),
        ("paramgraph compare", "which measures nothing"),
        ("paramgraph inspect embedded", "only records of the command"),
        ("paramgraph.compare('a', ['ring'])", "only records of the command"),
        ("", "only records of the command"),
        ("paramgraph compare 'embedded", "No closing quotation"),
        ("paramgraph compare no/such/model --out there", "it cannot be measured again"),
        ("{command} --builders complete", "nothing was measured"),
        ("{command} --share 3", "No such option"),
        ("{command} --permutations 29", "permutations 19 recorded, 29 by the command"),
        ("{command} --nulls rotated", "nulls"),
        ("{command} --signal weights --targets no_such_layer", "it cannot be measured again"),
    ],
)
def test_a_command_that_does_not_measure_the_cell_is_named_and_ends_with_code_1(
    finished, tmp_path, capsys, command, told
):
    record = json.loads((finished.folder / "comparison.json").read_text())
    record["setting"]["command"] = command.format(command=record["setting"]["command"])
    code, amiss = verify(record, tmp_path, capsys)
    assert code == 1
    assert told in amiss


def test_a_record_of_another_model_is_named_and_ends_with_code_1(finished, tmp_path, capsys):
    words = shlex.split(finished.result.setting["command"])
    other = Path(shutil.copytree(words[2], tmp_path / Path(words[2]).name))
    state = {name: -2 * value.roll(1, 0) for name, value in load_file(other / "model.safetensors").items()}
    save_file(state, other / "model.safetensors", {"format": "pt"})
    record = json.loads((finished.folder / "comparison.json").read_text())
    record["setting"]["command"] = shlex.join([*words[:2], str(other), *words[3:]])
    code, amiss = verify(record, tmp_path, capsys)
    assert code == 1
    assert re.search(r"compaction [\d.]+ recorded, [\d.]+ now", amiss)


def test_records_that_are_not_there_are_one_line_and_code_2(tmp_path, capsys):
    assert main(["compare", "--verify", str(tmp_path / "none.json")]) == 2
    assert "no record" in capsys.readouterr().err


def test_a_folder_of_experts_is_compared_without_the_model(tmp_path):
    save(make_saved("MixtralForCausalLM"), tmp_path / "model")
    found = run(tmp_path / "model", tmp_path / "out", "--builders", "gram", "--targets", "down_proj")
    assert found.code == 0, found.err
    layers = {cell["layer"] for cell in found.result.cells}
    stacks = [f"model.layers.{layer}.mlp.experts.down_proj" for layer in range(2)]
    assert layers == {f"{stack}[{at}]" for stack in stacks for at in range(3)}
    assert "of the weights are in nodes" in found.out


def test_a_folder_with_one_odd_layer_is_compared_and_names_it(tmp_path):
    model = copy.deepcopy(make_saved("LlamaForCausalLM"))
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    save(model, tmp_path / "model")
    found = run(
        tmp_path / "model", tmp_path / "out", "--builders", "gram", "ring", "--targets", "down_proj", "o_proj"
    )
    assert found.code == 0, found.err
    assert [one["name"] for one in found.result.left_out] == ["model.layers.1.mlp.down_proj.weight"]
    assert "left out: model.layers.1.mlp.down_proj.weight: " in found.out
    assert "have NaN or infinite entries" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
