"""From rows as they were read to texts that can be used, with everything dropped counted."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spectral_opt.errors import DataError
from spectral_opt.tasks.labelled import LabelledText, UnlabelledText
from spectral_opt.tasks.provenance import Provenance

# What programs write for a missing value, and nobody for a class or a group.
MISSING = frozenset({"", "nan", "-nan", "nat", "null", "<na>", "#n/a", "\\n"})
# What may be either: "none" is a stance, "NA" a country, and -100 what torch takes for no class.
PERHAPS_NO_LABEL = frozenset(
    {"none", "na", "n/a", "n.a.", "-", "--", "?", ".", "undefined", "unknown", "missing", "-100"}
)
# NUL, byte-order mark, soft hyphen, spaces without a width and marks of direction.
_MARKS = (
    0,
    0xFEFF,
    0xAD,
    0x61C,
    0x200B,
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),
    0x2060,
    *range(0x2066, 0x206A),
)
INVISIBLE = dict.fromkeys(_MARKS)
# Joiners and variation selectors stay, which make letters and emoji; two labels look alike without them.
JOINING = dict.fromkeys((0x200C, 0x200D, *range(0xFE00, 0xFE10)))


@dataclass(frozen=True)
class Table:
    """Rows as they were read: "text" and, where there are such, "label", "group" and "split".

    None marks a missing value. `label_names` orders the classes (None: sorted, numbers by value); `dropped`
    counts what the reader left out itself, and `notes` say what it made of the rows.
    """

    name: str
    source: str
    columns: Mapping[str, Sequence[str | int | None]]
    identity: str = ""
    licence: str = "not stated"
    label_names: tuple[str, ...] | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def clean_labelled(table: Table) -> LabelledText:
    """Drop rows without text or label, texts with several labels, and all later copies of a text.

    Labels are compared without white space around them, and in one Unicode form. What is dropped is counted in the
    provenance, which also notes what was taken off labels, and labels that may not be the classes they look like.
    """
    declared = {name: _tidy(name) or name for name in table.label_names or ()}
    raw = [None if label is None else str(label) for label in table.columns["label"]]
    tidy = ["" if label is None else declared.get(label, _tidy(label)) for label in raw]
    words = {word: f"label {word!r}, which stands for none" for word in MISSING - {""}}
    missing = [
        None if label in declared.values() else words.get(label.casefold(), None if label else "no label")
        for label in tidy
    ]
    labels = [None if why else label for label, why in zip(tidy, missing, strict=True)]
    seen: dict[str, set[str]] = {}
    for text, label in zip(table.columns["text"], labels, strict=True):
        if label is not None:
            seen.setdefault(_key(text), set()).add(label)
    contradictory = {text for text, several in seen.items() if len(several) > 1}
    reasons = {why: [why == one for one in missing] for why in ("no label", *sorted(words.values()))}
    reasons["text with several labels"] = [_key(text) in contradictory for text in table.columns["text"]]
    kept, provenance = _drop(table, reasons)
    counts = Counter(str(labels[i]) for i in kept)
    names = tuple(dict.fromkeys(declared.values())) or tuple(sorted(counts, key=_by_value))
    if not declared:
        _refuse_a_minus_one_of_two_meanings(table.name, names)
    changed = sum(raw[i] != labels[i] for i in kept)
    for note in _doubts(names, counts, changed):
        provenance = provenance.with_note(note)
    names = tuple(name for name in names if counts[name])
    number = {name: position for position, name in enumerate(names)}
    split = table.columns.get("split")
    groups = table.columns.get("group")
    # A film with a space behind its name must not stand in two parts of a split.
    tidied = None if groups is None else tuple(str(_named(groups[i])) for i in kept)
    if tidied and (without := tidied.count("")):
        provenance = provenance.with_note(
            f"texts without a group, which a split keeps together as one: {without}"
        )
    return LabelledText(
        table.name,
        tuple(str(table.columns["text"][i]) for i in kept),
        np.array([number[str(labels[i])] for i in kept], dtype=np.int64),
        names,
        provenance,
        groups=tidied,
        shipped_split=None if split is None else tuple(str(split[i]) for i in kept),
    )


def clean_unlabelled(table: Table) -> UnlabelledText:
    """Drop empty texts and all later copies of a text, and count them; further columns become metadata.

    Values there are tidied as groups are, so that two spellings of one document are one; a missing one is "".
    """
    kept, provenance = _drop(table, {})
    metadata: dict[str, tuple[str | int, ...]] = {
        column: tuple(_named(values[i]) for i in kept)
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
    return kept, Provenance(table.source, table.identity, table.licence, rows, dict(dropped), table.notes)


def _key(text: str | int | None) -> str:
    return "" if text is None else str(text).translate(INVISIBLE).strip()


def _tidy(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).translate(INVISIBLE).split())


def _refuse_a_minus_one_of_two_meanings(name: str, labels: Sequence[str]) -> None:
    """Refuse -1 beside 0, 1, ...: on the hub it stands for no label, in {-1, 0, 1} for a class."""
    values = {_number(label) for label in labels}
    if None in values or {value for value in values if value is not None and value < 0} != {-1}:
        return
    if values != {-1, 1}:
        shown = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
        raise DataError(
            f"the labels of {name!r} are {shown}: -1 may be a class, or stand for no label, and nothing "
            "here tells which; leave out rows without a label, or write the classes as words"
        )


def _doubts(names: Sequence[str], counts: Mapping[str, int], changed: int) -> Iterator[str]:
    """Say what was changed in labels, and which of them a reader should look at."""
    if changed:
        yield f"labels from which white space, invisible characters or another Unicode form were taken: {changed}"
    alike: dict[object, list[str]] = {}
    for name in names:
        value = _number(name)
        same = _spelling(name) if value is None else value
        alike.setdefault(same, []).append(name)
    for several in alike.values():
        if len(several) > 1:
            shown = ", ".join(f"{name!r} ({counts[name]})" for name in several)
            yield f"labels that differ only in how they are written count as classes of their own: {shown}"
    has_words = any(_number(name) is None for name in names)
    for name in names:
        perhaps = name.casefold() in PERHAPS_NO_LABEL or (has_words and _number(name) == -1)
        if perhaps and counts[name]:
            yield (
                f"the label {name!r} ({counts[name]} texts) counts as a class; leave it empty where it means no label"
            )
    decimal = [name for name in names if (_number(name) or 0.0) % 1]
    if decimal:
        yield f"labels with decimals, such as {decimal[0]}, count as classes, not as amounts"
    unused = [name for name in names if not counts[name]]
    if unused and len(unused) < len(names):
        yield f"no text has the label {', '.join(map(repr, unused))}, so it is no class here"


def _spelling(name: str) -> str:
    """Reduce a label to what tells it from others: neither case, nor joiners, nor what is between two words."""
    plain = unicodedata.normalize("NFKC", name.translate(JOINING)).casefold()
    return re.sub(r"(?<=\w)[\s_\u2010-\u2015-]+(?=\w)", "", plain)


def _named(value: str | int | None) -> str | int:
    """Tidy what names a group or a document; "" where nothing does."""
    if not isinstance(value, str):
        return "" if value is None else value
    name = _tidy(value)
    return "" if name.casefold() in MISSING else name


def _by_value(label: str) -> tuple[int, float, str]:
    value = _number(label)
    return (1, 0.0, label) if value is None else (0, value, label)


def _number(label: str) -> float | None:
    try:
        value = float(label)
    except ValueError:
        return None
    # "nan" and "infinity" are numbers to Python: they would have no place among them, and no remainder.
    return value if math.isfinite(value) else None
