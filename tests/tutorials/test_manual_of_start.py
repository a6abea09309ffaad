"""The manual's first page: its program runs as it is printed, on a small model."""

import doctest
from pathlib import Path

import pytest
import torch

from helpers.word_models import FILLER, OPINIONS, save_word_model

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "start.md"


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_word_model(tmp_path / "my-model")
    rows = [f"{FILLER[at % 8]} {FILLER[at % 5]} {OPINIONS[at % 2][at % 3]},{at % 2}" for at in range(96)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]))
    notes = [" ".join((FILLER + OPINIONS[1])[(at * step) % 11] for step in range(1, 7)) for at in range(20)]
    (tmp_path / "notes.txt").write_text("\n\n".join(notes))
    monkeypatch.chdir(tmp_path)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with torch.random.fork_rng(devices=[]):
        found = doctest.testfile(str(PAGE), module_relative=False, optionflags=options, encoding="utf-8")
    assert found.attempted > 25
    assert found.failed == 0
    assert (tmp_path / "compared.html").stat().st_size > 10_000
    assert (tmp_path / "refined" / "model.safetensors").exists()
