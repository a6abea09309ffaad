"""`spectral-opt refine --memory`: what cannot be, is told in one line before anything is loaded."""

from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoTokenizer, BertModel

from spectral_opt import Refiner, SpectralConfig
from spectral_opt.cli import main

SIZES = ["--texts", "16", "--held-out", "12", "--max-length", "16", "--graph", "columns"]


@pytest.fixture(scope="module")
def tuned(word_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "word-bert"
    model = BertModel.from_pretrained(word_model_folder)
    with torch.no_grad():
        model.pooler.dense.weight.mul_(1.1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(word_model_folder).save_pretrained(folder)
    return folder


def refined(base: Path, tuned: Path, texts: Path, out: Path, *more: str) -> int:
    return main(["refine", str(base), str(tuned), "--preserve", str(texts), "--out", str(out), *SIZES, *more])


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--memory", "disk"], "memory is 'disk' (allowed"),
        (["--memory", "blocks", "--keep", "0.9"], "--keep is of what is measured"),
        (["--memory", "blocks", "--moments", "{texts}"], "holds no moments that can be read"),
        (
            ["--moments", "nowhere/base.moments"],
            "--moments nowhere/base.moments cannot be written: make the folder",
        ),
        (["--moments", "."], "--moments . is a folder: name a file in it"),
        (["--workers", "0"], "workers must be at least 1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    word_model_folder, tuned, texts, tmp_path, capsys, more, words
):
    filled = [one.format(texts=texts["preserve"]) for one in more]
    code = refined(word_model_folder, tuned, texts["preserve"], tmp_path / "out", *filled)
    assert code == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_what_is_refined_block_by_block_has_a_card_that_says_what_was_not_measured(
    word_model_folder, tuned, texts, tmp_path
):
    more = ("--memory", "blocks", "--strength", "0.3")
    assert refined(word_model_folder, tuned, texts["preserve"], tmp_path / "out", *more) == 0
    card = ModelCard.load(tmp_path / "out" / "model" / "README.md")
    assert "filtered by the columns graph of the preserved text at strength 0.3" in card.text
    assert "Nothing was measured" in card.text
    assert "transformers.AutoModel.from_pretrained(FOLDER)" in card.text


def test_what_is_refined_block_by_block_takes_the_place_of_an_earlier_sweep(
    word_model_folder, tuned, texts, tmp_path
):
    out = tmp_path / "out"
    sweep = ("--strengths", "0.1", "--scales", "0.5", "--max-length", "16")
    assert refined(word_model_folder, tuned, texts["preserve"], out, *sweep) == 0
    assert {"report.html", "results.csv"} <= {path.name for path in out.iterdir()}
    (out / "notes.html").write_text("mine")
    more = ("--memory", "blocks", "--strength", "0.3", "--overwrite")
    assert refined(word_model_folder, tuned, texts["preserve"], out, *more) == 0
    found = {path.name for path in out.iterdir()}
    assert found == {"model", "results.json", "mergekit.yaml", "notes.html"}


def test_too_little_memory_for_one_block_is_told_before_anything_is_loaded(
    word_model_folder, tuned, texts, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("spectral_opt.refinement._memory.available_bytes", lambda: 10**6)
    monkeypatch.setattr("spectral_opt.refinement._memory.lies_in_memory", lambda folder: False)
    monkeypatch.setattr(BertModel, "from_pretrained", None)
    assert refined(word_model_folder, tuned, texts["preserve"], tmp_path / "out") == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "not enough memory: one block at a time needs about" in told
    assert "0.001 GB are free" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("memory", ["whole", "blocks"])
def test_graphs_in_a_file_are_read_for_the_texts_that_built_them_alone(
    word_model_folder, tuned, texts, tmp_path, capsys, memory
):
    file, sweep = tmp_path / "base.moments", ("--strengths", "0.1", "--scales", "0.5", "--moments")
    more = ("--memory", memory, *(sweep if memory == "whole" else sweep[-1:]))
    given = (word_model_folder, tuned)
    assert refined(*given, texts["preserve"], tmp_path / "first", *more, str(file)) == 0
    assert refined(*given, texts["preserve"], tmp_path / "again", *more, str(file), "--batch-size", "8") == 0
    for preserve, change in (
        ("retention", ()),
        ("preserve", ("--texts", "15")),
        ("preserve", ("--max-length", "15")),
        ("preserve", ("--seed", "1")),
    ):
        capsys.readouterr()
        assert refined(*given, texts[preserve], tmp_path / "other", *more, str(file), *change) == 2, change
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{file} were built from other texts, 16 texts of file preserve.csv" in told
        assert not (tmp_path / "other").exists()
    workers = ("--workers", "2")
    assert refined(*given, texts["preserve"], tmp_path / "other", *more, str(file), *workers) == 2
    assert "--workers would be ignored: leave it out" in capsys.readouterr().err.strip().splitlines()[-1]


def test_graphs_of_texts_that_their_file_does_not_name_are_refused(
    word_model_folder, tuned, texts, tmp_path, capsys
):
    file = tmp_path / "base.moments"
    refiner = Refiner(BertModel.from_pretrained(word_model_folder), SpectralConfig(builder="ring"))
    refiner.write_moments(file)
    assert refined(word_model_folder, tuned, texts["preserve"], tmp_path / "out", "--moments", str(file)) == 2
    assert "does not say which texts built its graphs" in capsys.readouterr().err.strip().splitlines()[-1]


def test_folders_and_files_are_found_by_the_sign_of_the_home_folder(
    word_model_folder, tuned, texts, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuned").symlink_to(tuned)
    more = ("--memory", "blocks", "--moments=~/base.moments", "--out=~/out")
    assert refined(word_model_folder, "~/tuned", texts["preserve"], Path("elsewhere"), *more) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"tuned", "base.moments", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model", "mergekit.yaml", "results.json"}
    capsys.readouterr()
    assert refined("~/tuned", tuned, texts["preserve"], Path("elsewhere")) == 2
    assert "base and tuned are one folder" in capsys.readouterr().err
