"""The manual's page on fine-tuning: its examples run, and its table names fields that there are."""

import doctest
import re
from dataclasses import fields
from pathlib import Path

import torch

from spectral_opt import SpectralConfig

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "fine_tuning.md"


def test_examples_run_as_they_are_printed() -> None:
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with torch.random.fork_rng(devices=[]):  # the page seeds the model that it makes
        found = doctest.testfile(str(PAGE), module_relative=False, optionflags=options, encoding="utf-8")
    assert found.attempted > 20
    assert found.failed == 0


def test_the_table_names_every_field_but_two_once() -> None:
    table = PAGE.read_text(encoding="utf-8").split("| field of `SpectralConfig` |", 1)[1].split("\n\n", 1)[0]
    named = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:]))
    assert sorted([*named, "norm_matching", "seed"]) == sorted(field.name for field in fields(SpectralConfig))
