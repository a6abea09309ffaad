"""The manual's page on spectra: its examples run, and its tables name what there is."""

import doctest
from pathlib import Path

import pytest

import paramgraph
from paramgraph import list_responses, list_solvers
from paramgraph.filters import METHODS, RESPONSES

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "spectra.md"


def table_under(head: str) -> list[list[str]]:
    """Read the cells of the table whose head begins so."""
    lines = PAGE.read_text(encoding="utf-8").split(head, 1)[1].splitlines()[2:]
    rows = lines[: next(at for at, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]


def test_examples_run_as_they_are_printed() -> None:
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=options, encoding="utf-8")
    assert found.attempted > 40
    assert found.failed == 0


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("| solver | what it does |", list_solvers()),
        ("| response | h(x) |", list_responses()),
        ("| method | what it computes |", [name for name in METHODS if name != "auto"]),
    ],
    ids=["solvers", "responses", "methods"],
)
def test_tables_name_everything_once(head: str, names: list[str]) -> None:
    assert sorted(row[0] for row in table_under(head)) == sorted(names)


def test_options_of_responses_are_those_of_their_factories() -> None:
    made = {
        name: factory()
        for name, factory in RESPONSES.items()
        if name in ("identity", "meyer", "itersine", "mexican_hat")
    }
    made |= {name: RESPONSES[name](1.0) for name in ("heat", "tikhonov", "lowpass", "highpass", "power")}
    made |= {
        "bandpass": RESPONSES["bandpass"](0.0, 1.0),
        "measured": RESPONSES["measured"]([1.0], [1.0, 0.5]),
    }
    for name, _, options in table_under("| response | h(x) |"):
        listed = [] if options == "none" else [option.strip(" `") for option in options.split(",")]
        assert listed == list(dict(made[name].options)), name


def test_every_measure_is_there() -> None:
    for name, formula, limit in table_under("| measure | formula |"):
        assert callable(getattr(paramgraph, name))
        assert formula
        assert limit
