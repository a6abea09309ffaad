"""Pages that need nothing but themselves: their examples run as they are printed."""

import doctest
from pathlib import Path

import pytest
import torch

MANUAL = Path(__file__).parents[2] / "tutorials" / "manual"


@pytest.mark.parametrize(("page", "least"), [("house", 10), ("refining", 8), ("large", 12), ("choosing", 20)])
def test_examples_run_as_they_are_printed(page: str, least: int) -> None:
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with torch.random.fork_rng(devices=[]):  # pages seed the models that they make
        found = doctest.testfile(
            str(MANUAL / f"{page}.md"), module_relative=False, optionflags=options, encoding="utf-8"
        )
    assert found.attempted >= least
    assert found.failed == 0
