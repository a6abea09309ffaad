"""Where a model or a text came from, and what was left out on the way."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Provenance:
    """State the origin of a model or a data set, as a report prints it.

    `identity` pins its content: sha256 of a file or commit of a repository. `rows_read` counts rows before
    anything was dropped (None for a model), `dropped` has the number of rows by reason, `notes` what a reader
    of a result needs.

    >>> print(Provenance("reviews.csv", rows_read=10, dropped={"duplicate text": 2}))
    reviews.csv; licence: not stated; 10 rows read, 2 dropped (duplicate text: 2)
    """

    source: str
    identity: str = ""
    licence: str = "not stated"
    rows_read: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        # A frozen value whose counts could be edited would not be a record.
        object.__setattr__(self, "dropped", MappingProxyType(dict(self.dropped)))
        object.__setattr__(self, "notes", tuple(self.notes))

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy cannot be pickled or copied; the plain dict can.
        return (type(self), tuple(self.to_dict().values()))

    def __str__(self) -> str:
        parts = [self.source, self.identity, f"licence: {self.licence}"]
        if self.rows_read is not None:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in self.dropped.items())
            total = sum(self.dropped.values())
            parts.append(
                f"{self.rows_read} rows read, {total} dropped" + (f" ({reasons})" if reasons else "")
            )
        return "; ".join(part for part in (*parts, *self.notes) if part)

    def with_note(self, note: str) -> "Provenance":
        """Return the same record with one more note."""
        return dataclasses.replace(self, notes=(*self.notes, note))

    def to_dict(self) -> dict[str, object]:
        """Return the record as plain values, in the order of the arguments, ready for JSON."""
        return {
            "source": self.source,
            "identity": self.identity,
            "licence": self.licence,
            "rows_read": self.rows_read,
            "dropped": dict(self.dropped),
            "notes": list(self.notes),
        }
