"""From rows as they were read to texts that can be used, with everything dropped counted."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spectral_opt.tasks.labelled import LabelledText, UnlabelledText
from spectral_opt.tasks.provenance import Provenance


@dataclass(frozen=True)
class Table:
    """Hold rows as they were read, before anything is dropped.

    Parameters
    ----------
    name, source, identity, licence : str
        As in `Provenance`.
    columns : mapping of str to sequence
        Columns of equal length; None marks a missing value. The text is in "text"; "label", "group" and
        "split" where there are such.
    label_names : tuple of str or None, default None
        Order of the classes; None: sorted, numbers by value.
    dropped : mapping of str to int
        What the reader left out itself.
    """

    name: str
    source: str
    columns: Mapping[str, Sequence[str | int | None]]
    identity: str = ""
    licence: str = "not stated"
    label_names: tuple[str, ...] | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)


def clean_labelled(table: Table) -> LabelledText:
    """Drop what no split can use, count it, and number the labels.

    Dropped are rows without text or label, all copies of a text that has several labels, and every copy of a
    text but the first.

    Parameters
    ----------
    table : Table
        With the columns "text" and "label", and "group" and "split" where there are such.

    Returns
    -------
    LabelledText
        With the counts in its provenance.

    Raises
    ------
    DataError
        If what remains is empty or has classes that cannot be used.
    """
    labels = [None if label is None else str(label) for label in table.columns["label"]]
    seen: dict[str, set[str | None]] = {}
    for text, label in zip(table.columns["text"], labels, strict=True):
        if label is not None:
            seen.setdefault(_key(text), set()).add(label)
    contradictory = {text for text, several in seen.items() if len(several) > 1}
    reasons = {"no label": [label is None for label in labels]}
    reasons["text with several labels"] = [_key(text) in contradictory for text in table.columns["text"]]
    kept, provenance = _drop(table, reasons)
    names = table.label_names or tuple(sorted({str(labels[i]) for i in kept}, key=_by_value))
    number = {name: position for position, name in enumerate(names)}
    columns = {
        column: tuple(str(table.columns[column][i]) for i in kept) if column in table.columns else None
        for column in ("group", "split")
    }
    return LabelledText(
        table.name,
        tuple(str(table.columns["text"][i]) for i in kept),
        np.array([number[str(labels[i])] for i in kept], dtype=np.int64),
        names,
        provenance,
        groups=columns["group"],
        shipped_split=columns["split"],
    )


def clean_unlabelled(table: Table) -> UnlabelledText:
    """Drop empty texts and every copy of a text but the first, and count them.

    Parameters
    ----------
    table : Table
        With the column "text"; further columns become metadata.

    Returns
    -------
    UnlabelledText
        With the counts in its provenance.

    Raises
    ------
    DataError
        If nothing remains.
    """
    kept, provenance = _drop(table, {})
    metadata: dict[str, tuple[str | int, ...]] = {
        column: tuple(_present(values[i]) for i in kept)
        for column, values in table.columns.items()
        if column != "text"
    }
    return UnlabelledText(
        table.name, tuple(str(table.columns["text"][i]) for i in kept), provenance, metadata=metadata
    )


def _drop(table: Table, reasons: Mapping[str, Sequence[bool]]) -> tuple[list[int], Provenance]:
    """Return positions kept and the record; each row is counted under its first reason."""
    dropped = Counter({reason: count for reason, count in table.dropped.items() if count})
    kept, seen = [], set()
    texts = table.columns["text"]
    for position, text in enumerate(texts):
        key = _key(text)
        reason = (
            "empty text" if not key else next((r for r, flags in reasons.items() if flags[position]), None)
        )
        if reason is None and key in seen:
            reason = "duplicate text"
        if reason is None:
            seen.add(key)
            kept.append(position)
        else:
            dropped[reason] += 1
    rows = len(texts) + sum(table.dropped.values())
    return kept, Provenance(table.source, table.identity, table.licence, rows, dict(dropped))


def _key(text: str | int | None) -> str:
    return "" if text is None else str(text).strip()


def _present(value: str | int | None) -> str | int:
    return "" if value is None else value


def _by_value(label: str) -> tuple[int, float, str]:
    try:
        value = float(label)
    except ValueError:
        return 1, 0.0, label
    # "nan" is a number to Python and has no place among numbers: their order would change from run to run.
    return (1, 0.0, label) if math.isnan(value) else (0, value, label)
