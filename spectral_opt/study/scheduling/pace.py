"""How far a run is: each cell weighed by its size, and by what the same method and filter took so far."""

from collections.abc import Iterable, Sequence

from spectral_opt.study import Cell, CellRecord, StudyPlan
from spectral_opt.study.statistics import label_of

# A step goes through the model and back, which costs about twice the way there.
OF_A_STEP = 3


class Pace:
    """Seconds of the cells that are done, and of those ahead by what the same took so far.

    A cell's size is how many texts pass the model: those of its steps, and those on which each of its states is
    measured. A method that was not seen yet is taken for the mean of its kind, fine-tunes or filters, else of all.
    """

    def __init__(self, plan: StudyPlan, records: Iterable[CellRecord], ahead: Sequence[Cell]) -> None:
        tasks = {task.name: task for task in plan.tasks}
        self._sizes = {
            (part.name, name, is_filtered): float(
                (0 if is_filtered else OF_A_STEP * (part.steps or task.steps) * task.batch_size)
                + len(part.factors_of(is_filtered)) * task.state_size
            )
            for part in plan.parts
            for name in part.tasks
            for task in (tasks[name],)
            for is_filtered in (False, True)
        }
        self._seen: dict[str | bool | None, tuple[float, float]] = {}  # seconds and sizes
        for record in records:
            if record.status == "finished":
                self._see(record, record.seconds)
        self._ahead = {cell.key: cell for cell in ahead}
        self._finished: dict[str, Cell] = {}
        self._told = 0.0

    def is_done(self, key: str) -> bool:
        """Tell whether a cell was measured or given up."""
        return key in self._finished

    def done(self, cell: Cell, seconds: float) -> float:
        """Note a cell, and give the share of the work by which the run is further."""
        self._see(cell, seconds)
        return self.failed(cell)

    def failed(self, cell: Cell) -> float:
        """Note a cell that diverged or is given up, whose time says nothing of others."""
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

    def _see(self, cell: Cell | CellRecord, seconds: float) -> None:
        for kind in (label_of(cell), cell.after is not None, None):
            before = self._seen.get(kind, (0.0, 0.0))
            self._seen[kind] = (before[0] + seconds, before[1] + self._size(cell))

    def _expected(self, cell: Cell) -> float:
        for kind in (label_of(cell), cell.after is not None, None):
            if kind in self._seen:
                seconds, size = self._seen[kind]
                return max(seconds / size * self._size(cell), 1e-3)
        return self._size(cell)

    def _size(self, cell: Cell | CellRecord) -> float:
        return self._sizes[cell.part, cell.task, cell.after is not None]
