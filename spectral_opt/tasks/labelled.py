"""Values that hold texts, with or without labels, and the cleaning that makes them."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from spectral_opt.errors import DataError
from spectral_opt.tasks.provenance import Provenance


@dataclass(frozen=True)
class LabelledText:
    """Hold texts with one class each.

    Parameters
    ----------
    name : str
        Name for tables and file names.
    texts : tuple of str
        The texts, at least two of each class.
    labels : int64 array of shape (texts,)
        Class numbers, 0 to `len(label_names)` - 1; made read-only.
    label_names : tuple of str
        Name of each class.
    provenance : Provenance
        Source, licence, and how many rows were dropped and why.
    groups : tuple of str or None, default None
        What a split must keep together, such as the film of a review.
    shipped_split : tuple of str or None, default None
        Part that the source puts each text in, such as "train", "validation" or "test".

    Raises
    ------
    DataError
        If there is no text, one class only, a class with fewer than two texts, a label out of range, or a
        column of another length.

    Examples
    --------
    >>> labels = np.array([0, 0, 1, 1])
    >>> data = LabelledText("toy", ("a", "b", "c", "d"), labels, ("no", "yes"), Provenance("toy"))
    >>> data.class_counts()
    {'no': 2, 'yes': 2}
    """

    name: str
    texts: tuple[str, ...]
    labels: Int64[np.ndarray, " texts"]
    label_names: tuple[str, ...]
    provenance: Provenance
    groups: tuple[str, ...] | None = None
    shipped_split: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        labels = np.array(self.labels, dtype=np.int64)
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        if not self.texts:
            raise DataError(f"the data set {self.name!r} is empty: {self.provenance}")
        columns = {"labels": labels, "groups": self.groups, "shipped_split": self.shipped_split}
        for column, values in columns.items():
            if values is not None and len(values) != len(self.texts):
                raise DataError(f"{len(values)} {column} for {len(self.texts)} texts of {self.name!r}")
        if labels.min() < 0 or labels.max() >= len(self.label_names):
            raise DataError(
                f"labels of {self.name!r} run from {labels.min()} to {labels.max()}, and there are "
                f"{len(self.label_names)} label names"
            )
        self._check_classes()

    def _check_classes(self) -> None:
        counts = self.class_counts()
        present = [name for name, count in counts.items() if count]
        if len(present) < 2:
            raise DataError(
                f"the data set {self.name!r} has one class, {present[0]!r}: a classifier needs at least two"
            )
        few = [name for name, count in counts.items() if count < 2]
        if few:
            shown = ", ".join(f"{name!r} ({counts[name]})" for name in few[:5])
            raise DataError(
                f"{len(few)} of {len(counts)} labels of {self.name!r} have fewer than two examples: {shown}"
                f"{', ...' if len(few) > 5 else ''}; give more texts, or check that this is the label column"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def class_counts(self) -> dict[str, int]:
        """Return the number of texts of each class, in the order of `label_names`."""
        counts = np.bincount(self.labels, minlength=len(self.label_names))
        return {name: int(count) for name, count in zip(self.label_names, counts, strict=True)}

    def with_shuffled_labels(self, seed: int) -> "LabelledText":
        """Return the same texts with their labels permuted: a control on which nothing can be learnt.

        Parameters
        ----------
        seed : int
            For the permutation.

        Returns
        -------
        LabelledText
            With the same class counts, and a note in its provenance.

        Examples
        --------
        >>> data.with_shuffled_labels(0).class_counts() == data.class_counts()  # doctest: +SKIP
        True
        """
        labels = np.random.default_rng(seed).permutation(self.labels)
        note = f"labels shuffled (seed {seed}): accuracy beyond chance is a fault"
        return dataclasses.replace(
            self, name=f"{self.name} (shuffled)", labels=labels, provenance=self.provenance.with_note(note)
        )


@dataclass(frozen=True)
class UnlabelledText:
    """Hold texts without labels.

    Parameters
    ----------
    name : str
        Name for tables and file names.
    texts : tuple of str
        The texts, at least one.
    provenance : Provenance
        Source, licence, and how many rows were dropped and why.
    metadata : mapping of str to tuple, default empty
        Further columns, one value per text, such as the year of an address.

    Raises
    ------
    DataError
        If there is no text, or a column of another length.
    """

    name: str
    texts: tuple[str, ...]
    provenance: Provenance
    metadata: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.texts:
            raise DataError(f"the data set {self.name!r} is empty: {self.provenance}")
        for column, values in self.metadata.items():
            if len(values) != len(self.texts):
                raise DataError(
                    f"{len(values)} values of {column} for {len(self.texts)} texts of {self.name!r}"
                )

    def __len__(self) -> int:
        return len(self.texts)


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
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
