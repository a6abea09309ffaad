"""Names of nodes that differ in a number alone, written when they are read: a model has hundreds of thousands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload


@dataclass(frozen=True, eq=False)
class NumberedNames(Sequence[str]):
    """Equal, also to a tuple, where all names are.

    >>> names = NumberedNames("w[", "]", range(3))
    >>> names[1], len(names), names == ("w[0]", "w[1]", "w[2]")
    ('w[1]', 3, True)
    """

    before: str
    after: str
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "NumberedNames": ...
    def __getitem__(self, index: int | slice) -> "str | NumberedNames":
        if isinstance(index, slice):
            return NumberedNames(self.before, self.after, self.numbers[index])
        return f"{self.before}{self.numbers[index]}{self.after}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NumberedNames) and (self.before, self.after) == (other.before, other.after):
            return self.numbers == other.numbers
        return isinstance(other, NumberedNames | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))  # as of an equal tuple
