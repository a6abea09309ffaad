"""The manual's page on graphs: its examples run, and its tables name what there is."""

import doctest
from pathlib import Path

import pytest
import torch

from paramgraph import list_builders, source_refusal
from paramgraph.graphs import registry
from paramgraph.nodes import SCHEMES
from paramgraph.sources import SOURCES

PAGE = Path(__file__).parents[2] / "tutorials" / "manual" / "graphs.md"


def table_under(head: str) -> list[list[str]]:
    """Read the cells of the table whose head begins so."""
    lines = PAGE.read_text(encoding="utf-8").split(head, 1)[1].splitlines()[2:]
    rows = lines[: next(at for at, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip(" `") for cell in row.replace("\\|", "").strip("|").split("|")] for row in rows]


def test_examples_run_as_they_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    list_builders()  # registers all that there are, once in a process; the page registers one of its own
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with torch.random.fork_rng(devices=[]):  # the page seeds the model that it makes
        found = doctest.testfile(str(PAGE), module_relative=False, optionflags=options, encoding="utf-8")
    assert found.attempted > 20
    assert found.failed == 0


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("| scheme | a node is |", set(SCHEMES)),
        ("| source | a node's features |", set(SOURCES)),
        (
            "| builder | weight of an edge |",
            {name for name in list_builders() if not name.startswith("docs_")},
        ),
    ],
)
def test_tables_name_everything_once(head: str, names: set[str]) -> None:
    listed = [row[0] for row in table_under(head)]
    assert sorted(listed) == sorted(names)


def test_table_of_sources_and_schemes_says_what_is_refused() -> None:
    schemes = sorted(SCHEMES)
    expected = [
        [source, *("no" if source_refusal(source, scheme) else "yes" for scheme in schemes)]
        for source in sorted(SOURCES)
    ]
    assert table_under(f"| source | {' | '.join(schemes)} |") == expected
