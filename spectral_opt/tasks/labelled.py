"""Values that hold texts, with or without labels."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from spectral_opt.errors import DataError
from spectral_opt.tasks.provenance import Provenance


@dataclass(frozen=True)
class LabelledText:
    """Texts with one class each.

    `labels` are class numbers, int64 of shape (texts,), 0 to `len(label_names)` - 1, made read-only; every
    class has at least two texts. `groups` are what a split must keep together, such as the film of a review;
    `shipped_split` is the part that the source puts each text in, such as "train" or "test". No text, a
    single class, a class with one text, a label out of range or a column of another length raise DataError.

    >>> labels = np.array([0, 0, 1, 1])
    >>> data = LabelledText("toy", ("a", "b", "c", "d"), labels, ("no", "yes"), Provenance("toy"))
    >>> data.with_shuffled_labels(0).class_counts()
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
                f"the data set {self.name!r} has one class, {present[0]!r}: a classifier needs at least two; give "
                f"texts of another class, or check that this is the label column ({self.provenance})"
            )
        few = [name for name, count in counts.items() if count < 2]
        if few:
            shown = ", ".join(f"{name!r} ({counts[name]})" for name in few[:5])
            raise DataError(
                f"{len(few)} of {len(counts)} labels of {self.name!r} have fewer than two examples: {shown}"
                f"{', ...' if len(few) > 5 else ''}; give more texts, or check that this is the label "
                f"column ({self.provenance})"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def class_counts(self) -> dict[str, int]:
        """Return the number of texts of each class, in the order of `label_names`."""
        counts = np.bincount(self.labels, minlength=len(self.label_names))
        return {name: int(count) for name, count in zip(self.label_names, counts, strict=True)}

    def with_shuffled_labels(self, seed: int) -> "LabelledText":
        """Return the same texts with labels permuted, and a note of it: on these nothing can be learnt."""
        labels = np.random.default_rng(seed).permutation(self.labels)
        note = f"labels shuffled (seed {seed}): accuracy beyond chance is a fault"
        return dataclasses.replace(
            self, name=f"{self.name} (shuffled)", labels=labels, provenance=self.provenance.with_note(note)
        )


@dataclass(frozen=True)
class UnlabelledText:
    """Texts without labels, at least one; `metadata` has further columns, such as the year of an address.

    No text, or a column of another length, raise DataError.
    """

    name: str
    texts: tuple[str, ...]
    provenance: Provenance
    metadata: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    unit: str = "texts"  # what an error calls them

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

    def drawn(self, size: int, seed: int) -> list[str]:
        """Return `size` of the texts in an order of `seed`; a DataError where there are fewer."""
        if len(self) < size:
            raise DataError(f"{self.name} has {len(self)} {self.unit}, and {size} were asked for")
        return [self.texts[at] for at in np.random.default_rng(seed).permutation(len(self))[:size]]

    def as_documents(self, column: str | None = None) -> "UnlabelledText":
        """Join texts with one value in a column of `metadata` into one, with empty lines between, in their order.

        Without a column each text is a document already. Texts without a value are one document, and counted in the
        provenance. Of the other columns those stay that have one value in each document. One that is not there is a
        DataError, and so is a document with texts in two of the parts that the source ships.
        """
        if column is None:
            return self
        if column not in self.metadata:
            known = ", ".join(map(repr, self.metadata)) or "no column besides its texts"
            raise DataError(f"{self.name!r} has no column {column!r}; it has {known}")
        places: dict[str | int, list[int]] = {}
        for at, value in enumerate(self.metadata[column]):
            places.setdefault(value, []).append(at)
        parts = self.metadata.get("split", ())
        for value, own in places.items():
            found = sorted({str(parts[at]) for at in own}) if parts else []
            if len(found) > 1:
                raise DataError(
                    f"{self.name!r}: the document {value!r} by {column!r} has texts in the parts {', '.join(found)}; "
                    "give each document to one part, or all texts as one file"
                )
        documents = list(places.values())
        provenance = self.provenance.with_note(
            f"{len(self)} texts joined into {len(documents)} documents by {column}"
        )
        if "" in places:
            provenance = provenance.with_note(
                f"texts without {column}, which stand together as one document: {len(places[''])}"
            )
        kept = {
            name: tuple(values[own[0]] for own in documents)
            for name, values in self.metadata.items()
            if all(len({values[at] for at in own}) == 1 for own in documents)
        }
        return UnlabelledText(
            self.name,
            tuple("\n\n".join(self.texts[at] for at in own) for own in documents),
            provenance,
            kept,
        )
