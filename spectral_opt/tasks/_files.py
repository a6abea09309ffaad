"""A user's own texts: CSV, TSV, JSON or JSON lines, UTF-8."""

import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from spectral_opt.errors import DataError
from spectral_opt.tasks._rows import Rows

# Not by `datasets`, which reads hub names here: its CSV makes "NA" and "null" missing, 01 the number 1.0, and a row of
# one field too many a row with an index, without a word; it cannot name the line that is wrong; it keeps a second copy
# of every file in a cache; and importing it takes seconds.
DELIMITERS = {".csv": ",", ".tsv": "\t"}
WRITTEN = (*DELIMITERS, ".json", ".jsonl")
# What spreadsheets separate by where the comma stands in numbers.
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs"}
# What may stand above the header: empty lines, and the line by which Excel is told what separates.
AHEAD = re.compile(r"([ \t]*\r?\n)*(sep=(?P<separator>[^\w\s\"]|\t)\r?\n)?([ \t]*\r?\n)*", re.IGNORECASE)
# How JSON writes halves of a character; of UTF-8 no other way leads to one.
HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
# The names of columns, and the rows with the number of the line, or of the row, where each stands.
Read: TypeAlias = tuple[
    list[str], list[tuple[int, dict[str, Any]]]
]  # Any: what a file holds is checked later


def read_written(path: Path) -> Rows:
    """Read a CSV, TSV, JSON or JSON-lines file into memory.

    CSV and TSV need a header line; fields may be quoted and hold line ends. Where the header has no comma (of a TSV no
    tab), but semicolons or tabs, these separate, and where a line `sep=` stands above it, what that names; which the
    source says. A column without a name is not read. JSON lines hold one object per line; JSON has a list of objects,
    also under a key of its own, or a list for each column, as pandas writes them. An absent key is a missing value.
    """
    suffix = path.suffix.lower()
    content, text = read_utf8(path)
    source = f"file {path.name}"
    if suffix in DELIMITERS:
        ahead = AHEAD.match(text)
        assert ahead is not None, "nothing matches as well"
        delimiter = ahead["separator"] or _delimiter(text[ahead.end() :], DELIMITERS[suffix])
        if delimiter != DELIMITERS[suffix]:
            source += f", separated by {OTHER_DELIMITERS.get(delimiter, repr(delimiter))}"
        present, rows = _read_delimited(path, text[ahead.end() :], delimiter, ahead[0].count("\n"))
    else:
        present, rows = (_read_json if suffix == ".json" else _read_json_lines)(path, text)
    word = "line" if suffix != ".json" else "row"
    may_have_halves = HALF_ESCAPED.search(text) is not None

    def place(at: int) -> str:
        return f"{word} {rows[at][0]}"

    def read(column: str) -> list[object]:
        values = [row.get(column) for _, row in rows]
        if may_have_halves:
            _refuse_halves(path, column, values, place)
        return values

    return Rows(
        path.stem,
        str(path),
        source,
        present,
        len(rows),
        read,
        place,
        f"sha256 {hashlib.sha256(content).hexdigest()}",
    )


def read_utf8(path: Path) -> tuple[bytes, str]:
    """Read a file of UTF-8, whose mark at the begin is no text; a DataError says how another one is converted."""
    try:
        content = path.read_bytes()
        return content, content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        byte = content[error.start]
        # Windows writes one or the other; its own code page has all of Latin-1's letters.
        likely = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "cp1252"
        raise DataError(
            f"{path} is not UTF-8 (byte 0x{byte:02x} at position {error.start}): convert it, for instance "
            f"with `iconv -f {likely} -t utf-8`"
        ) from error


def _delimiter(text: str, usual: str) -> str:
    """Choose what separates the names of the header; a mark within quotes separates nothing."""
    header = text[: text.find("\n") + 1] or text

    def names(delimiter: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=delimiter), []))
        except csv.Error:  # no header of anything, which reading it says
            return 0

    return next((one for one in (usual, *OTHER_DELIMITERS) if names(one) > 1), usual)


def _read_delimited(path: Path, text: str, delimiter: str, above: int) -> Read:
    """Return the column names and the rows with their line numbers; so many lines stand `above` the text."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        header = next(reader, [])
        named = [name for name in header if name]
        if header and not named:
            raise DataError(f"{path}, line {above + 1}: the header names no column")
        if len(set(named)) < len(named):
            raise DataError(f"{path} has two columns of the same name: {', '.join(map(repr, header))}")
        quoted = next((name for name in named if name.lstrip().startswith('"') and name[0].isspace()), None)
        if quoted is not None:
            raise DataError(
                f"{path}, line {above + 1}: white space stands before the quote of {quoted!r}, which then quotes "
                "nothing: take the white space after the separators away, there and in all lines"
            )
        for values in reader:
            if values and len(values) != len(header):
                raise DataError(
                    f"{path}, line {above + reader.line_num}: {len(values)} fields under {len(header)} column names; "
                    "quote fields that hold the separator"
                )
            if values:
                rows.append((above + reader.line_num, dict(zip(header, values, strict=True))))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {above + reader.line_num}: {error}; JSON lines have no such limits"
        ) from error
    return named, rows


def _refuse_halves(path: Path, column: str, values: Sequence[object], place: Callable[[int], str]) -> None:
    """Refuse halves of characters, which no tokenizer takes and no file of UTF-8 can be written with."""
    for at, value in enumerate(values):
        # Messages are lists of objects: the halves in them show where they are written as one text.
        written = json.dumps(value, ensure_ascii=False)
        half = re.search("[\ud800-\udfff]", written)
        if half:
            raise DataError(
                f"{path}, {place(at)}: {column!r} has half of a character (\\u{ord(half[0]):x} alone), as of a text "
                "that was cut within one: take it out"
            )


def _read_json_lines(path: Path, text: str) -> Read:
    """Return the keys that occur and the objects with their line numbers."""
    present: dict[str, None] = {}
    rows: list[tuple[int, dict[str, Any]]] = []
    # Not splitlines(): U+2028 and its like may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, line {number} is a {type(row).__name__}, not an object with named columns"
            )
        present.update(dict.fromkeys(row))
        rows.append((number, row))
    return list(present), rows


def _read_json(path: Path, text: str) -> Read:
    """Read a whole file of JSON; one that is JSON lines, whatever its name says, line by line."""
    try:
        found = json.loads(text) if text.strip() else []
    except RecursionError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    except ValueError as error:
        if not text.lstrip().startswith("["):
            return _read_json_lines(path, text)
        raise DataError(f"{path} is not JSON: {error}") from error
    if isinstance(found, dict):
        found = _records(found)
    if not isinstance(found, list):
        raise DataError(f"{path} is a {type(found).__name__}: a list of objects with named columns is needed")
    present: dict[str, None] = {}
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, row {number} is a {type(row).__name__}, not an object with named columns"
            )
        present.update(dict.fromkeys(row))
    return list(present), list(enumerate(found, start=1))


def _records(found: dict[str, Any]) -> list[Any]:
    """Read an object as rows: those under one key, or a list (or an object) for each column; else itself is a row."""
    lists = [value for value in found.values() if isinstance(value, list)]
    if len(lists) == 1 and lists[0] and all(isinstance(row, dict) for row in lists[0]):
        return lists[0]
    values = list(found.values())
    if values and all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
        values = [list(value.values()) for value in values]  # pandas, which numbers its rows
    if values and all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        return [dict(zip(found, row, strict=True)) for row in zip(*values, strict=True)]
    return [found]
