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
    """Rows as they were read: "text" and, where there are such, "label", "group" and "split".

    None marks a missing value. `label_names` orders the classes (None: sorted, numbers by value); `dropped`
    counts what the reader left out itself.
    """

    name: str
    source: str
    columns: Mapping[str, Sequence[str | int | None]]
    identity: str = ""
    licence: str = "not stated"
    label_names: tuple[str, ...] | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)


def clean_labelled(table: Table) -> LabelledText:
    """Drop rows without text or label, texts with several labels, and all later copies of a text.

    What is dropped is counted in the provenance, and labels are numbered.
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
    """Drop empty texts and all later copies of a text, and count them; further columns become metadata."""
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
