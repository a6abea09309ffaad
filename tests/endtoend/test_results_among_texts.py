"""No command writes into a folder whose files it reads as texts: the next run would read its own results."""

import shutil

import pytest

from paramgraph.cli import main as paramgraph_main
from spectral_opt.cli import main as spectral_opt_main


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (spectral_opt_main, "finetune --model {model} --task classification --data {folder}"),
        (
            spectral_opt_main,
            "finetune --model {model} --task classification --data {file} --evaluate-on {folder}",
        ),
        (
            spectral_opt_main,
            "finetune --model {model} --task classification --data {file} --spectral preserve --preserve {folder}",
        ),
        (spectral_opt_main, "refine {model} {model} --preserve {folder}"),
        (spectral_opt_main, "refine {model} {model} --preserve {file} --task {folder}"),
        (spectral_opt_main, "demo --model {model} --data {folder}"),
        (spectral_opt_main, "demo --model {model} --data {file} --retention {folder}"),
        (paramgraph_main, "compare {model} --data {folder}"),
    ],
)
def test_a_folder_among_the_texts_is_refused_before_any_work(
    word_model_folder, texts, tmp_path, monkeypatch, capsys, program, line
):
    folder = tmp_path / "texts"
    folder.mkdir()
    file = shutil.copy(texts["labelled"], folder / "labelled.csv")
    monkeypatch.chdir(folder)
    words = line.format(model=word_model_folder, folder="../texts", file=file).split()
    assert program([*words, "--out", "out"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "out lies in ../texts, a folder whose files are read as texts" in told
    assert [path.name for path in folder.iterdir()] == ["labelled.csv"]
