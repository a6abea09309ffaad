"""How far a run is: each cell weighed by the mean time of those with the same method and filter."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

from spectral_opt.study import Cell, CellRecord
from spectral_opt.study.statistics import label_of


class Pace:
    """Seconds of the cells that are done, and of those ahead by what the same took so far."""

    def __init__(self, records: Iterable[CellRecord], ahead: Sequence[Cell]) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        for record in records:
            self._seconds[label_of(record)].append(record.seconds)
        self._ahead = {cell.key: cell for cell in ahead}
        self._finished: dict[str, Cell] = {}
        self._told = 0.0

    def is_done(self, key: str) -> bool:
        """Tell whether a cell was measured or given up."""
        return key in self._finished

    def done(self, cell: Cell, seconds: float) -> float:
        """Note a cell, and give the share of the work by which the run is further."""
        self._seconds[label_of(cell)].append(seconds)
        return self.failed(cell)

    def failed(self, cell: Cell) -> float:
        """Note a cell that is given up, whose time says nothing of others."""
        self._finished[cell.key] = self._ahead.pop(cell.key)
        spent = sum(map(self._expected, self._finished.values()))
        share = spent / (spent + self.seconds_left()) if self._ahead else 1.0
        # As expectations change the share may fall; a bar does not go back.
        further = max(0.0, share - self._told)
        self._told += further
        return further

    def seconds_left(self) -> float:
        """Sum what the cells ahead are expected to take on one worker."""
        return sum(map(self._expected, self._ahead.values()))

    def _expected(self, cell: Cell) -> float:
        known = self._seconds.get(label_of(cell))
        if known:
            return max(fmean(known), 1e-3)
        alike = [
            second
            for label, seconds in self._seconds.items()
            if ("+" in label) == (cell.after is not None)
            for second in seconds
        ]
        return max(fmean(alike), 1e-3) if alike else 1.0
