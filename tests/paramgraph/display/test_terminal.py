"""Tables in the terminal."""

import builtins

import pytest

from paramgraph.display import TableView, print_views


def test_numbers_stand_right_and_words_left(capsys):
    view = TableView(
        ("name", "edges", "why"), (("a", "5", "x"), ("longer", "12", "yes")), "Title", words=frozenset({2})
    )
    print_views([view])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["", "Title", "name    edges  why", "a           5  x", "longer     12  yes"]


def test_brackets_in_a_cell_are_text(capsys):
    print_views([TableView(("name", "interval"), (("[bold]a", "[0.1, 0.2]"),))])
    out = capsys.readouterr().out
    assert "[bold]a" in out
    assert "[0.1, 0.2]" in out


def test_without_rich_the_pip_line_is_said(monkeypatch):
    real = builtins.__import__

    def without_rich(name, *more):
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    with pytest.raises(ImportError, match=r"pip install 'paramgraph\[compare\]'"):
        print_views([])
