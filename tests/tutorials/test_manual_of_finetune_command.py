"""The manual's page on runs from the command line: its examples run, its table names every option."""

import doctest
import re
from dataclasses import fields
from pathlib import Path

import pytest

from spectral_opt.finetuning import FineTuneOptions

from helpers.word_models import FILLER, OPINIONS, save_word_model

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "finetune_command.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_examples_run_as_they_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_word_model(Path("my-model"))
    rows = [
        f"{FILLER[at % 8]} {FILLER[at % 5]} {OPINIONS[at % 2][at % 3]} {'a ' * at},{at % 2}"
        for at in range(40)
    ]
    Path("reviews.csv").write_text("text,label\n" + "\n".join(rows))
    found = doctest.testfile(
        str(PAGE),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
        encoding="utf-8",
    )
    assert found.attempted > 6
    assert found.failed == 0


def test_the_table_names_every_option_once_as_its_field() -> None:
    table = TEXT.split("| option | field of `FineTuneOptions` | what |", 1)[1].split("\n\n", 1)[0]
    cells = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    options = [name for first, _ in cells for name in re.findall(r"`--([\w-]+)`", first)]
    named = [name for _, second in cells for name in re.findall(r"`(\w+)`", second)]
    assert sorted(named) == sorted(field.name for field in fields(FineTuneOptions))
    assert [name.replace("-", "_") for name in options] == named
