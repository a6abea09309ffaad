"""What tuning decides: each method's best options, whether AdamW is a baseline at all, and who was tried how often."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paramgraph.display import TableView
from spectral_opt.study import CellRecord, StudyPlan, Value, get_method
from spectral_opt.study.statistics._effects import lost_measure, seed_effects
from spectral_opt.study.statistics._equal_score import Score, level_of, tuned_by
from spectral_opt.study.statistics._labels import full_label, has_label
from spectral_opt.study.statistics._paired import PairedSummary, summarize_paired


@dataclass(frozen=True)
class Tried:
    """A variant in tuning: means over its `runs`, and why it cannot be chosen, if so.

    `score` and `loss` are of the states themselves. Of a filter, `lost_ratio` is the geometric mean of what it loses
    over what scaling its fine-tune loses at the level, over the runs that have the score; `never` do not. Of a language
    model `lost_difference` is the mean of the one less the other in its place.
    """

    label: str
    options: Mapping[str, Value]
    after_options: Mapping[str, Value]
    runs: int
    score: float | None = None
    loss: float | None = None
    lost_ratio: float | None = None
    never: int = 0
    why_not: str = ""
    lost_difference: float | None = None

    @property
    def lost(self) -> float | None:
        """What it loses beside scaling, as a ratio or a difference."""
        return self.lost_ratio if self.lost_difference is None else self.lost_difference


@dataclass(frozen=True)
class Selection:
    """The variants of a label, the best one first; `chosen` is None where none can be."""

    label: str
    rule: str
    tried: tuple[Tried, ...]

    @property
    def chosen(self) -> Tried | None:
        """The best variant that has all of its runs."""
        return next((one for one in self.tried if not one.why_not), None)

    def table(self) -> TableView:
        """Put the variants into rows; those that cannot be chosen are muted."""
        rows = tuple(
            (
                one.label,
                str(one.runs),
                *("-" if value is None else f"{value:.4f}" for value in (one.score, one.loss, one.lost)),
                str(one.never),
                one.why_not or ("chosen" if one is self.chosen else ""),
            )
            for one in self.tried
        )
        header = ("variant", "runs", "score", "loss", "lost, scaling", "never there", "")
        muted = frozenset(place for place, one in enumerate(self.tried) if one.why_not)
        return TableView(header, rows, self.rule, muted)


def select(records: Iterable[CellRecord], label: str, score: Score | None = None) -> Selection:
    """Choose the options of a label by its tuning records, each measured on development or selection texts.

    Of a trained method the variant of the best mean score wins, the mean loss decides between equals. Of a filter the
    one that loses least at the score of its own fine-tune less .01, of a language model .03 nats, along each one's
    scaling curve; one that more often never has that score stands behind. Without a `score` it is that of `tuned_by`. A
    variant that lacks a run that another one has, or diverged in one, is not chosen, and says so. No tuning record of
    the label: ValueError.
    """
    every = [record for record in records if record.stage == "tuning"]
    by_run = dict[str, dict[tuple[str, int, int], CellRecord]]()
    for record in every:
        if has_label(record, label):  # a run that stands in two parts counts once
            by_run.setdefault(full_label(record), {}).setdefault(_run(record), record)
    found = {name: list(own.values()) for name, own in by_run.items()}
    if not found:
        raise ValueError(f"no tuning record of {label!r} to choose its options by")
    score = score or tuned_by(next(iter(found.values()))[0].kind)
    trained = {_place(record): record for record in every if record.after is None}
    wanted = {_run(record) for own in found.values() for record in own}
    tried = [_tried(name, own, wanted, trained, score) for name, own in found.items()]
    if next(iter(found.values()))[0].after is None:
        rule = f"the best mean {score} on development texts, then the least loss"
        tried.sort(key=lambda one: (bool(one.why_not), _or_worst(one.score, -1), _or_worst(one.loss)))
    else:
        level = -level_of(score)
        beside = "over" if lost_measure(score, level_of(score)).is_ratio else "less what is lost by"
        rule = f"the least lost {beside} scaling at the fine-tune's own {score} less {level:g}, on selection texts"
        tried.sort(key=lambda one: (bool(one.why_not), one.never, _or_worst(one.lost)))
    return Selection(label, rule, tuple(tried))


@dataclass(frozen=True)
class Gate:
    """Whether AdamW at its best rate beats the linear probe it starts from, on development texts of the tuning runs."""

    task: str
    shots: int
    label: str
    difference: PairedSummary | None
    passed: bool


def gate(records: Iterable[CellRecord], label: str = "adamw") -> list[Gate]:
    """Compare a method at its best options with the start, for each task and number of shots of the tuning records.

    It passes where the mean difference over the seeds, in the score of `tuned_by`, is above 0. Where it does not,
    nothing that the records say of other methods is beside a baseline.
    """
    every = [record for record in records if record.stage == "tuning" and has_label(record, label)]
    gates = []
    for task, shots in sorted({(record.task, record.shots) for record in every}):
        own = [record for record in every if (record.task, record.shots) == (task, shots)]
        chosen = select(own, label).chosen
        if chosen is None:
            gates.append(Gate(task, shots, label, None, passed=False))
            continue
        # By seed: a run that stands in two parts counts once.
        pairs = {
            record.seed: _state(record)[tuned_by(record.kind)]
            - record.metrics["start"][tuned_by(record.kind)]
            for record in own
            if full_label(record) == chosen.label
        }
        difference = summarize_paired(list(pairs.values()))
        gates.append(Gate(task, shots, chosen.label, difference, difference.estimate > 0))
    return gates


@dataclass(frozen=True)
class Budget:
    """How many variants of a method a tuning part tries on each task and number of shots, and over how many seeds.

    `most` is the largest number of variants that any of its kind has in that part: trained, or a filter.
    """

    part: str
    label: str
    variants: int
    seeds: int
    most: int

    @property
    def is_equal(self) -> bool:
        """Whether no other of its kind was tried more often."""
        return self.variants == self.most


def budgets(plan: StudyPlan) -> list[Budget]:
    """Count the variants that each method and filter is given in the tuning parts of a plan.

    A control, told by its option `null`, has a budget of its own; all grids of one name count together. What is not
    trained, as a linear probe, has nothing to tune and is not counted.
    """
    found = []
    for part in plan.parts:
        if part.stage != "tuning":
            continue
        trained, filters = dict[str, int](), dict[str, int]()
        for grid in part.methods:
            if get_method(grid.name).trains:
                _count(trained, grid.name, grid.variants())
        for after in part.after:
            for of in after.of:
                _count(filters, f"{of}+{after.name}", after.variants())
        for kind in (trained, filters):
            most = max(kind.values(), default=0)
            found += [Budget(part.name, label, count, len(part.seeds), most) for label, count in kind.items()]
    return found


def _count(counts: dict[str, int], label: str, variants: Iterable[Mapping[str, Value]]) -> None:
    for options in variants:
        null = options.get("null")
        name = label if null is None else f"{label},null={null}"
        counts[name] = counts.get(name, 0) + 1


def _tried(
    label: str,
    own: Sequence[CellRecord],
    wanted: set[tuple[str, int, int]],
    trained: Mapping[tuple[object, ...], CellRecord],
    score: Score,
) -> Tried:
    row = Tried(label, own[0].options, own[0].after_options, len(own))
    lacking = len(wanted - {_run(record) for record in own})
    ended = sum(record.status == "diverged" for record in own)
    if ended or lacking:
        told = [f"diverged in {ended} of {len(own)} runs"] * bool(ended)
        told += [f"{lacking} of {len(wanted)} runs are missing"] * bool(lacking)
        return replace(row, why_not=", ".join(told))
    states = [_state(record) for record in own]
    row = replace(
        row,
        score=float(np.mean([state[score] for state in states])),
        loss=float(np.mean([state["loss"] for state in states])),
    )
    if own[0].after is None:
        return row
    without = [_place(record) for record in own if _place(record) not in trained]
    if without:
        return replace(row, why_not=f"{len(without)} of its fine-tunes have no record of their own")
    measure, effects, never = lost_measure(score, level_of(score)), list[float](), 0
    for record in own:
        tune = {record.seed: trained[_place(record)]}
        found = seed_effects(measure, {record.seed: record}, tune, tune)
        never += len(found.infinite)
        effects += [value for value in found.values.values() if np.isfinite(value)]
    mean = float(np.mean(effects)) if effects else None
    if not measure.is_ratio:
        return replace(row, never=never, lost_difference=mean)
    return replace(row, never=never, lost_ratio=None if mean is None else float(np.exp(mean)))


def _run(record: CellRecord) -> tuple[str, int, int]:
    return record.task, record.shots, record.seed


def _state(record: CellRecord) -> Mapping[str, float]:
    state: Mapping[str, float] = max(record.metrics["points"], key=lambda point: point["factor"])
    return state


def _place(record: CellRecord) -> tuple[object, ...]:
    """Name the fine-tune that a record is of, or filters."""
    options = tuple(sorted(record.options.items()))
    return record.part, record.task, record.shots, record.seed, record.method, options


def _or_worst(value: float | None, sign: int = 1) -> float:
    return float("inf") if value is None else sign * value
