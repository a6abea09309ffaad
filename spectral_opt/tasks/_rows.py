"""Rows as a file, a folder or a data set holds them, and which of their columns become a table of texts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spectral_opt.errors import DataError, NoColumnError
from spectral_opt.tasks._cleaning import Table
from spectral_opt.tasks._conversations import (
    conversation_columns,
    is_conversation,
    write_conversations,
)
from spectral_opt.tasks.tokenizers import TokenizerLike

# Test rows first: a text in two splits is kept where it stands first, so it leaves the training part.
SPLIT_ORDER = ("test", "validation", "dev", "train")
# Columns that the command line has an option for.
OWN_OPTIONS = ("text", "label", "group")


@dataclass(frozen=True)
class Rows:
    """Named columns of `count` rows, read when they are asked for; `place` says in words where a row stands.

    `class_names` are of columns that declare them; `split` is the part that each row belongs to.
    """

    name: str
    shown: str
    source: str
    present: Sequence[str]
    count: int
    read: Callable[[str], Sequence[object]]
    place: Callable[[int], str]
    identity: str = ""
    licence: str = "not stated"
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    split: Sequence[str] | None = None


def join_rows(
    parts: Mapping[str, Sequence[Rows]], name: str, shown: str, source: str, identity: str, licence: str
) -> Rows:
    """Put parts one after another, by the split that each belongs to ("" for none); their columns are what all have."""
    order = [(split, rows) for split in sorted(parts, key=_rank) for rows in parts[split]]
    several = [rows for _, rows in order]
    empty = next((split for split, rows in order if split and not rows.count), None)
    if empty is not None:
        raise DataError(f"the part {empty!r} of {shown} is empty: give it rows, or leave it out")
    ends = np.cumsum([rows.count for rows in several])

    def place(at: int) -> str:
        part = int(np.searchsorted(ends, at, side="right"))
        rows = several[part]
        word = rows.place(at - int(ends[part]) + rows.count)
        return word if rows.shown == shown else f"{rows.name}, {word}"

    return Rows(
        name,
        shown,
        source,
        [column for column in several[0].present if all(column in rows.present for rows in several)],
        int(ends[-1]),
        lambda column: [value for rows in several for value in rows.read(column)],
        place,
        identity,
        licence,
        {column: names for rows in several for column, names in rows.class_names.items()},
        None if list(parts) == [""] else [split for split, rows in order for _ in range(rows.count)],
    )


def _rank(split: str) -> tuple[int, str]:
    return (SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER), split)


def choose_columns(rows: Rows, columns: Mapping[str, str], tokenizer: TokenizerLike | None = None) -> Table:
    """Take columns ({"text": "review", "label": "stars"}) out of rows; a DataError names one that is missing.

    Texts, numbers and booleans are values; null and NaN are missing ones. Where there is no column of texts of that
    name, conversations are looked for, and where it holds conversations, the tokenizer's chat template writes them out.
    """
    table: dict[str, Sequence[str | int | None]] = {}
    notes: tuple[str, ...] = ()
    for name, column in columns.items():
        chats = conversation_columns(rows.present) if name == "text" and column not in rows.present else ()
        # Rows without a column are no rows: they are empty, whatever their columns would be.
        if rows.present and column not in rows.present and not chats:
            raise NoColumnError(
                f"{rows.shown} has no column {column!r}; it has {', '.join(map(repr, rows.present))}: name one of them "
                f"by {option_of(name)}"
            )
        values = [rows.read(one) for one in (chats or (column,))] if rows.present else [[]]
        if chats or (name == "text" and any(map(is_conversation, values[0]))):
            extra = rows.read("tools") if "tools" in rows.present else None
            used = chats or (column,)
            table[name], note = write_conversations(rows.shown, used, values, extra, rows.place, tokenizer)
            notes = (note,)
        else:
            table[name] = [_scalar(rows, column, at, value) for at, value in enumerate(values[0])]
    if rows.split is not None:
        table["split"] = list(rows.split)
    declared = rows.class_names.get(columns.get("label", ""))
    label_names = tuple(declared) if declared else None
    return Table(rows.name, rows.source, table, rows.identity, rows.licence, label_names, notes=notes)


def option_of(name: str) -> str:
    """Say by which option a column is named."""
    return f"{name}_column (--{name}-column)" if name in OWN_OPTIONS else "document_column"


def _scalar(rows: Rows, column: str, at: int, value: object) -> str | None:
    # NaN is no JSON, but Python and pandas write it for a missing value.
    if value is None or value != value:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | dict | bytes):
        raise DataError(
            f"{rows.shown}, {rows.place(at)}: {column!r} is a {type(value).__name__}, not a text or a number"
        )
    return str(value)  # a date, a decimal
