"""The manual's page on comparing: its examples run, and its table names the columns that there are."""

import doctest
import re
from pathlib import Path

import pytest
import torch

import paramgraph
from paramgraph.sources import SOURCES

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "comparing.md"


def first_cells(head: str) -> list[str]:
    """Read what the first column of a table names in code."""
    table = PAGE.read_text(encoding="utf-8").split(head, 1)[1].split("\n\n", 1)[0]
    return re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:]))


@pytest.fixture(scope="module")
def found() -> paramgraph.Comparison:
    """Gradients on sparse graphs, which are all that has a number in every column."""
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 24), torch.nn.Tanh(), torch.nn.Linear(24, 2))
    inputs = torch.randn(6, 8, 3, generator=generator)

    def loss(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(x).square().mean()
        return found

    return paramgraph.compare(
        model,
        {"near": paramgraph.CosineKNN(k=2)},
        "batch_gradients",
        targets=["0"],
        batches=list(inputs),
        loss=loss,
        permutations=19,
    )


def test_examples_run_as_they_are_printed() -> None:
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with torch.random.fork_rng(devices=[]):
        tested = doctest.testfile(str(PAGE), module_relative=False, optionflags=options, encoding="utf-8")
    assert tested.attempted > 20
    assert tested.failed == 0


def test_the_table_of_columns_names_exactly_those_of_the_frame(found: paramgraph.Comparison) -> None:
    assert sorted(first_cells("| column of `frame` |")) == sorted(found.frame.columns)


def test_the_table_of_signals_names_all_of_them_once() -> None:
    assert sorted(first_cells("| `signal` |")) == sorted(
        name for name, source in SOURCES.items() if source.is_signal
    )


def test_every_measure_is_a_number_of_the_result(found: paramgraph.Comparison) -> None:
    named = {*found.frame.columns, *found.bands.columns, *found.summary().columns}
    assert set(first_cells("| measure | formula |")) <= named


@pytest.mark.parametrize("name", ["frame", "bands", "agreement", "summary", "verdict", "setting"])
def test_parts_of_the_result_are_there(found: paramgraph.Comparison, name: str) -> None:
    assert f"found.{name}" in PAGE.read_text(encoding="utf-8")
    assert hasattr(found, name)
