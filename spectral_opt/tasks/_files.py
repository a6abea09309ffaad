"""A user's own texts: CSV, TSV or JSON lines, UTF-8."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

from spectral_opt.errors import DataError
from spectral_opt.tasks._cleaning import Table

# Not by `datasets`, which reads hub names here: its CSV makes "NA" and "null" missing, 01 the number 1.0, and a row of
# one field too many a row with an index, without a word; it cannot name the line that is wrong; it keeps a second copy
# of every file in a cache; and importing it takes seconds.
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl")


def read_file(path: Path, columns: Mapping[str, str]) -> Table:
    """Read columns ({"text": "review", "label": "stars"}) of a CSV, TSV or JSON-lines file into memory.

    CSV and TSV need a header line; fields may be quoted and hold line ends. JSON lines hold one object per
    line; text, numbers and booleans are values, and null or an absent key is a missing value.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"cannot read {path}: its suffix is {suffix or 'missing'!r}, allowed are {', '.join(SUFFIXES)}"
        )
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise DataError(
            f"{path} is not UTF-8 (byte 0x{byte:02x} at position {error.start}): convert it, for instance "
            "with `iconv -f latin1 -t utf-8`"
        ) from error
    read = _read_json_lines if suffix == ".jsonl" else _read_delimited
    present, rows = read(path, text)
    for column in columns.values():
        # A file without a single row is empty, whatever its columns are.
        if present and column not in present:
            raise DataError(f"{path} has no column {column!r}; it has {', '.join(map(repr, present))}")
    table = {
        name: [_scalar(path, line, column, row.get(column)) for line, row in rows]
        for name, column in columns.items()
    }
    return Table(path.stem, f"file {path.name}", table, f"sha256 {hashlib.sha256(content).hexdigest()}")


def _read_delimited(path: Path, text: str) -> tuple[list[str], list[tuple[int, dict[str, object]]]]:
    """Return the column names and the rows with their line numbers."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[path.suffix.lower()], strict=True)
    rows: list[tuple[int, dict[str, object]]] = []
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise DataError(f"{path} has two columns of the same name: {', '.join(map(repr, header))}")
        for values in reader:
            if values and len(values) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(values)} fields under {len(header)} column names; "
                    "quote fields that hold the separator"
                )
            if values:
                rows.append((reader.line_num, dict(zip(header, values, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; JSON lines have no such limits") from error
    return header, rows


def _read_json_lines(path: Path, text: str) -> tuple[list[str], list[tuple[int, dict[str, object]]]]:
    """Return the keys that occur and the objects with their line numbers."""
    present: dict[str, None] = {}
    rows: list[tuple[int, dict[str, object]]] = []
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


def _scalar(path: Path, line: int, column: str, value: object) -> str | None:
    # NaN is no JSON, but Python and pandas write it for a missing value.
    if value is None or value != value:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise DataError(f"{path}, line {line}: {column!r} is a {type(value).__name__}, not a text or a number")
