"""Rows as a file, a folder or a data set holds them, and which of their columns become a table of texts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from spectral_opt.errors import DataError
from spectral_opt.tasks._cleaning import Table
from spectral_opt.tasks._conversations import (
    conversation_columns,
    is_conversation,
    write_conversations,
)
from spectral_opt.tasks.tokenizers import TokenizerLike


@dataclass(frozen=True)
class Rows:
    """Named columns, read when they are asked for; `place` says in words where a row stands.

    `class_names` are of columns that declare them; `split` is the part that each row belongs to.
    """

    name: str
    shown: str
    source: str
    present: Sequence[str]
    read: Callable[[str], Sequence[object]]
    place: Callable[[int], str]
    identity: str = ""
    licence: str = "not stated"
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    split: Sequence[str] | None = None


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
            raise DataError(
                f"{rows.shown} has no column {column!r}; it has {', '.join(map(repr, rows.present))}"
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
