"""The manual's page on runs from the command line: its examples run, its table names every option."""

import doctest
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from spectral_opt.finetuning import FineTuneOptions

from helpers.word_models import FILLER, OPINIONS, save_word_model

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "finetune_command.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_examples_run_as_they_are_printed(tmp_path: Path) -> None:
    model = save_word_model(tmp_path / "bert")
    rows = [
        f"{FILLER[at % 8]} {FILLER[at % 5]} {OPINIONS[at % 2][at % 3]} {'a ' * at},{at % 2}"
        for at in range(40)
    ]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "\n".join(rows))

    def example(**more: Any) -> FineTuneOptions:
        return FineTuneOptions(
            model=str(model), data=str(tmp_path / "reviews.csv"), task="classification", **more
        )

    found = doctest.testfile(
        str(PAGE),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
        encoding="utf-8",
        globs={"example": example, "out": tmp_path / "out"},
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
