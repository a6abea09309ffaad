"""What of a study is there: its cells put together by panel and variant, and all that is missing, named."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from paramgraph.errors import UnknownNameError
from spectral_opt.study import (
    CLASSIFICATION,
    AfterTraining,
    Cell,
    CellRecord,
    Method,
    Stage,
    StudyPlan,
    TaskKind,
    Value,
    get_after_training,
    get_method,
)
from spectral_opt.study.report._kinds import WORDS, KindWords
from spectral_opt.study.statistics import full_label, label_of

BASELINE = "adamw"


@dataclass(frozen=True)
class Panel:
    """What is compared in one figure: the runs of a part on a task with so many shots."""

    part: str
    stage: Stage
    task: str
    shots: int
    kind: TaskKind = CLASSIFICATION

    @property
    def name(self) -> str:
        """How a reader is told."""
        return f"{self.part}: {self.task}, {self.shots} {self.words.shots_of}"

    @property
    def words(self) -> KindWords:
        """How its kind of task is told of."""
        return WORDS[self.kind]


@dataclass
class Series:
    """The runs of a variant in a panel by seed: finished, diverged, and how many there are to be.

    A variant is a method with its options, and the filter after it with its own: what cells have alike but the seed.
    """

    panel: Panel
    cell: Cell
    name: str = ""
    planned: int = 0
    finished: dict[int, CellRecord] = field(default_factory=dict)
    diverged: dict[int, CellRecord] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name without options: `adamw`, or `adamw+product`."""
        return label_of(self.cell)

    @property
    def control(self) -> str:
        """Which control of its method or filter it is, by the option `null`: `permuted`; empty for none."""
        nulls = [one.get("null") for one in (self.cell.options, self.cell.after_options)]
        return ", ".join(str(one) for one in nulls if one is not None)

    @property
    def kind(self) -> str:
        """Its name with the control that it is, as a budget is given to: `adamw+product (permuted)`."""
        return f"{self.label} ({self.control})" if self.control else self.label

    @property
    def kind_label(self) -> str:
        """The same as a label of statistics: `adamw+product,null=permuted`."""
        nulls = f",null={self.cell.options.get('null')}", f",null={self.cell.after_options.get('null')}"
        own = self.cell.method + nulls[0]
        return own if self.cell.after is None else f"{own}+{self.cell.after}{nulls[1]}"

    @property
    def options(self) -> dict[str, Value]:
        """Its options, those of a filter after the method's."""
        return {**self.cell.options, **self.cell.after_options}

    @cached_property
    def parts(self) -> tuple[Method | AfterTraining, ...]:
        """The files of its method and filter, as far as they are known here; records of others may name more."""
        found: list[Method | AfterTraining] = []
        for read, name in ((get_method, self.cell.method), (get_after_training, self.cell.after)):
            try:
                if name is not None:
                    found.append(read(name))
            except UnknownNameError:
                continue
        return tuple(found)

    @property
    def is_null(self) -> bool:
        """Whether it is the control of another one: by an option `null`, or as a file of its own."""
        return bool(self.control) or any(part.null_of for part in self.parts)

    @property
    def is_trained(self) -> bool:
        """Whether it is more than the start itself, which has a mark of its own in figures, and no line."""
        return all(getattr(part, "trains", True) for part in self.parts)

    @property
    def missing(self) -> int:
        """How many cells have no record."""
        return self.planned - len(self.finished) - len(self.diverged)

    @property
    def runs(self) -> dict[int, CellRecord]:
        """All records by seed, as statistics want them: one that diverged counts, too."""
        return {**self.finished, **self.diverged}

    def values(self, metric: str) -> list[float]:
        """List a measure of the final states, one for each finished seed that has it."""
        points = [final_state(record) for record in self.finished.values()]
        return [float(point[metric]) for point in points if point.get(metric) is not None]


@dataclass(frozen=True)
class Overview:
    """A plan and its records; `refused` are files that are no record of it, with the reason."""

    plan: StudyPlan
    records: Mapping[str, CellRecord]
    refused: Mapping[str, str]

    @cached_property
    def series(self) -> dict[Panel, list[Series]]:
        """The variants of each panel in the order of the plan, whether there is a record or not."""
        found: dict[Panel, dict[str, Series]] = {}
        for job in self.plan.jobs():
            panel = Panel(job.part.name, job.part.stage, job.task.name, job.shots, job.task.kind)
            for cell in job.cells:
                series = found.setdefault(panel, {}).setdefault(full_label(cell), Series(panel, cell))
                series.planned += 1
                record = self.records.get(cell.key)
                if record is not None:
                    kept = series.finished if record.status == "finished" else series.diverged
                    kept[cell.seed] = record
        for own in found.values():
            _name(list(own.values()))
        return {panel: list(own.values()) for panel, own in found.items()}

    @cached_property
    def planned(self) -> int:
        """How many cells the study has."""
        return sum(series.planned for own in self.series.values() for series in own)

    @property
    def is_complete(self) -> bool:
        """Whether each cell has a record."""
        return len(self.records) >= self.planned

    def in_order(self) -> Iterator[CellRecord]:
        """Yield the records in the order of the plan."""
        for job in self.plan.jobs():
            yield from (self.records[cell.key] for cell in job.cells if cell.key in self.records)

    @cached_property
    def shown(self) -> dict[Panel, list[Series]]:
        """The panels of which results are told: all but tuning; tuning itself where there is nothing else."""
        with_records = {
            panel: own
            for panel, own in self.series.items()
            if any(one.finished or one.diverged for one in own)
        }
        chosen = {panel: own for panel, own in with_records.items() if panel.stage != "tuning"}
        return chosen or with_records

    @cached_property
    def tuning(self) -> dict[Panel, list[Series]]:
        """The panels on which variants were chosen."""
        return {panel: own for panel, own in self.series.items() if panel.stage == "tuning"}


def baseline_of(own: list[Series]) -> Series | None:
    """Find the plain fine-tune of a panel: what the others are compared with. Of several the one with most runs."""
    plain = [series for series in own if series.label == BASELINE]
    return max(plain, key=lambda series: len(series.runs), default=None)


def final_state(record: CellRecord) -> dict[str, Any]:
    """Give the point of factor 1: the run's own state."""
    state: dict[str, Any] = max(record.metrics["points"], key=lambda point: point["factor"])
    return state


def options_text(options: Mapping[str, Value]) -> str:
    """Write options as `name=value`, separated by commas; of a control only which one it is.

    >>> options_text({"strength": 0.5, "null": "permuted", "rank": 4})
    'strength=0.5, permuted, rank=4'
    """
    told = []
    for name, value in options.items():
        if name == "null" and value is not None:
            told.append(str(value))
        elif value is not None:
            told.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}")
    return ", ".join(told)


def _name(series: list[Series]) -> None:
    """Name each variant of a panel by its kind, and by the options in which it differs from others of that kind."""
    for one in series:
        alike = [other.options for other in series if other.kind == one.kind]
        own = {
            name: value
            for name, value in one.options.items()
            if name != "null" and any(other.get(name) != value for other in alike)
        }
        told = ", ".join(filter(None, (one.control, options_text(own))))
        one.name = f"{one.label} ({told})" if told else one.label
