"""All pages: their commands are ones that there are; of those that need nothing but themselves, examples run."""

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from paramgraph.cli import COMMANDS as LOOKING, read_command
from spectral_opt.cli import COMMANDS as TUNING

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "tutorials" / "manual"
PROGRAMS = {"paramgraph": LOOKING, "spectral-opt": TUNING}


def commands() -> Iterator[tuple[str, str]]:
    for page in (ROOT / "README.md", *sorted(MANUAL.glob("*.md"))):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^    ((?:paramgraph|spectral-opt) .*)$", text, flags=re.MULTILINE):
            yield page.stem, line.split("#")[0].strip()


@pytest.mark.parametrize(("page", "line"), list(dict.fromkeys(commands())))
def test_every_command_is_understood(page: str, line: str) -> None:
    program, *words = shlex.split(line)
    assert read_command(program, "", PROGRAMS[program], words)


@pytest.mark.parametrize(("page", "least"), [("house", 10), ("refining", 8), ("large", 12), ("choosing", 20)])
def test_examples_run_as_they_are_printed(page: str, least: int) -> None:
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with torch.random.fork_rng(devices=[]):  # pages seed the models that they make
        found = doctest.testfile(
            str(MANUAL / f"{page}.md"), module_relative=False, optionflags=options, encoding="utf-8"
        )
    assert found.attempted >= least
    assert found.failed == 0
