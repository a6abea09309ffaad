"""Tables in the terminal."""

import builtins
import re
import unicodedata

import pytest
from rich.cells import cell_len

from paramgraph.display import TableView, print_lines, print_views, printable, progress_bar

# Colours, the window's title, the clipboard, the cursor, another line, C1 controls, the direction of writing, what is
# not seen, and half of a character.
HOSTILE = {
    "colour": "\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;b3duZWQ=\x1b\\",
    "return": "safe\rfake",
    "line": "name\nfake: line",
    "c1": "\x9b31m",
    "next line": "a\x85b",
    "bidi": "evil\u202egpj.exe",
    "isolate": "\u2066x\u2069",
    "separator": "a\u2028b",
    "invisible": "a\u200bb",
    "tag": "a\U000e0041",
    "surrogate": "a\udc80",
    "null": "a\x00b",
    "delete": "ab\x7f",
}


def unseen(text):
    """List what a terminal may obey, but for the ends of lines."""
    return [c for c in text if c != "\n" and (unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp"))]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_acts_is_written_out_wherever_text_is_shown(name, capsys):
    text = HOSTILE[name]
    assert not unseen(printable(text))
    assert "\n" not in printable(text)
    print_views([TableView((f"name {text}", "b"), ((text, text),), f"title {text}")])
    print_lines(text, f"failed: {text}")
    with progress_bar(1.0) as advance:
        advance(0.0, text)
        advance(1.0, text)
    printed = capsys.readouterr()
    assert not unseen(printed.out)
    # tqdm goes back to the start of its line, and up and down: the name does not.
    assert not unseen(printed.err.replace("\r", "").replace("\x1b[A", ""))
    assert [line for line in printed.out.splitlines() if line.startswith("failed")] == [
        f"failed: {printable(text)}"
    ]


@pytest.mark.parametrize(
    "text", ["blocks.0.weight", "Grüße 日本 مرحبا שלום", "नमस्ते क्\u200dष", "👩\u200d🔬", "a\xa0b"]
)
def test_words_of_all_languages_stay(text):
    assert printable(text) == text


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


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_number_and_no_word_is_broken_at_any_width(width, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    names = ("correlation of activations", "ring of indices, permuted")
    rows = tuple((name, *(f"[0.{place}00, 0.{place}99]" for place in range(9))) for name in names)
    print_views([TableView(("graph of rows", *(f"interval {place}" for place in range(9))), rows, "Nine")])
    shown = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert max(map(len, shown.splitlines())) <= width
    assert all(cell in shown for row in rows for cell in row[1:])
    assert all(word in shown for name in names for word in name.split())
    # What goes on below has its names again.
    assert shown.count("activations") == shown.count("graph of rows") >= 1


@pytest.mark.parametrize("name", ["\u5206\u985e\u5668" * 4, "\uac00\ub098\ub2e4" * 4, "e\u0301" * 24])
def test_characters_of_two_places_and_of_none_are_counted_as_a_terminal_does(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "41")  # the name's 24 places and one column of numbers, but not two
    numbers = ("0.12345678", "0.23456789")
    print_views([TableView(("model", "one", "two"), ((name, *numbers),))])
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert [name in line for line in lines if "0." in line] == [True, True]
    assert all(any(number in line for line in lines) for number in numbers)
    assert max(map(cell_len, lines)) <= 41
