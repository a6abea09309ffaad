"""One effect for each seed: what a method does beside a rival, and why it has none where it has none."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool

from spectral_opt.study import CellRecord
from spectral_opt.study.statistics._convergence import best_smoothed_loss, reached_at
from spectral_opt.study.statistics._equal_score import (
    Cost,
    Score,
    least_lost,
    scaling_curve,
    scores_along,
    whole_path,
)
from spectral_opt.study.statistics._paired import (
    PairedSummary,
    one_sided_p_value,
    summarize_paired,
    two_level_interval,
)

Kind = Literal[
    "lost_ratio",
    "lost_difference",
    "scaling_ratio",
    "scaling_difference",
    "perturbation_ratio",
    "score_difference",
    "best_scaling_difference",
    "steps_ratio",
    "time_ratio",
]
RATIOS: frozenset[Kind] = frozenset(
    {"lost_ratio", "scaling_ratio", "perturbation_ratio", "steps_ratio", "time_ratio"}
)
# Of which less is better.
COSTS: frozenset[Kind] = RATIOS | {"lost_difference", "scaling_difference"}
# What compares two states alone: how the reference's run went has no say in it.
WITHOUT_REFERENCE: frozenset[Kind] = frozenset({"score_difference", "best_scaling_difference"})


@dataclass(frozen=True)
class Measure:
    r"""What is compared, seed by seed; of ratios the logarithm.

    - "lost_ratio", "perturbation_ratio": least lost, or least drift, on each one's own scaling curve at the score
      of the reference plus `level`; "lost_difference" the same of what is lost, where that may be below 0.
    - "scaling_ratio": what the state itself has lost over what the reference has, scaled to the state's own score; for
      two filters the one such ratio over the other. No line from a fine-tune to a distant state decides it.
      "scaling_difference" the same of what is lost less what scaling loses, where that may be below 0.
    - "score_difference": of the states themselves.
    - "best_scaling_difference": the method's score over the best on the rival's own scaling curve, start and factor
      picked on the same texts, which favours the rival.
    - "steps_ratio": steps to the reference's best smoothed loss on the development texts.
    - "time_ratio": seconds of the processor; of the `seconds` named until the "end", or preparing and training until
      the "target" of "steps_ratio".
    """

    kind: Kind
    score: Score = "accuracy"
    level: float = 0.0
    until: Literal["end", "target"] = "end"
    seconds: tuple[str, ...] = ("preparing", "training", "filter")

    @property
    def is_ratio(self) -> bool:
        """Whether effects are logarithms."""
        return self.kind in RATIOS


@dataclass(frozen=True)
class SeedEffects:
    """Effects by seed; `infinite` says why one is, `left_out` why a seed has none."""

    measure: Measure
    values: Mapping[int, float]
    infinite: Mapping[int, str] = field(default_factory=dict)
    left_out: Mapping[int, str] = field(default_factory=dict)
    # Ends of the difference in accuracy over seeds and texts.
    items: tuple[float, float] | None = None

    def summary(self) -> PairedSummary | None:
        """Sum up the seeds that have an effect; None where none has."""
        return summarize_paired(list(self.values.values())) if self.values else None

    def p_value(self, bound: float, side: Literal["below", "above"]) -> float:
        """Return the one-sided p-value that the effect is on a side of `bound`; 1 without any effect."""
        return one_sided_p_value(list(self.values.values()), bound, side) if self.values else 1.0


def lost_measure(score: Score, level: float) -> Measure:
    """Compare what is lost at equal score: a rise of a loss, which may be a fall, by its difference, else by ratio."""
    return Measure("lost_difference" if score == "log_likelihood" else "lost_ratio", score, level)


def seed_effects(
    measure: Measure,
    own: Mapping[int, CellRecord],
    rival: Mapping[int, CellRecord],
    reference: Mapping[int, CellRecord],
) -> SeedEffects:
    """Compare records of one task by seed; `reference` sets level and target, and is AdamW.

    A seed counts where all three have a record. A run that diverged, or never has the score or the loss, counts as
    infinitely worse; where that is so of both, or the start has the score already, the seed has no effect.
    """
    values, infinite, left_out = dict[int, float](), dict[int, str](), dict[int, str]()
    for seed in sorted(own.keys() & rival.keys() & reference.keys()):
        effect, reason = _effect(measure, own[seed], rival[seed], reference[seed])
        if math.isnan(effect):
            left_out[seed] = reason
            continue
        values[seed] = effect
        if math.isinf(effect):
            infinite[seed] = reason
    items = None
    if measure.kind == "score_difference" and measure.score == "accuracy" and values and not infinite:
        sides = [[side[seed] for seed in values] for side in (own, rival)]
        if all(_is_told(record, "correct") for side in sides for record in side):
            first, second = ([answers_of(record) for record in side] for side in sides)
            # Of no right answer at all the last byte is whole.
            sizes = [min(len(a), len(b)) for a, b in zip(first, second, strict=True)]
            first = [answers[:size] for answers, size in zip(first, sizes, strict=True)]
            second = [answers[:size] for answers, size in zip(second, sizes, strict=True)]
            items = two_level_interval(first, second)
    return SeedEffects(measure, values, infinite, left_out, items)


def pooled_effects(by_task: Sequence[SeedEffects]) -> SeedEffects:
    """Average the tasks' effects seed by seed; a seed that has none in one task has none here."""
    first = by_task[0]
    shared = set(first.values).intersection(*(task.values for task in by_task))
    values, infinite, left_out = dict[int, float](), dict[int, str](), dict[int, str]()
    for seed in sorted(set[int]().union(*({*task.values, *task.left_out} for task in by_task))):
        reasons = [task.left_out[seed] for task in by_task if seed in task.left_out]
        if seed not in shared:
            left_out[seed] = "; ".join(dict.fromkeys(reasons)) or "not in every task"
            continue
        found = [task.values[seed] for task in by_task]
        if math.inf in found and -math.inf in found:
            left_out[seed] = "infinitely better in one task and worse in another"
            continue
        values[seed] = float(np.mean(found))
        endless = [task.infinite[seed] for task in by_task if seed in task.infinite]
        if endless:
            infinite[seed] = "; ".join(dict.fromkeys(endless))
    return SeedEffects(first.measure, values, infinite, left_out)


def answers_of(record: CellRecord) -> Bool[np.ndarray, " texts"]:
    """Unpack which texts the state itself got right.

    Packed bits end on a whole byte, so their number follows from the accuracy, which is their share.
    """
    point = max(record.metrics["points"], key=lambda one: one["factor"])
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(point["correct"]), dtype=np.uint8)).astype(bool)
    right = int(bits.sum())
    texts = round(right / point["accuracy"]) if right else len(bits)
    if not len(bits) - 8 < texts <= len(bits):
        raise ValueError(
            f"{record.method} of seed {record.seed}: {right} right answers of {len(bits)} bits do not make an "
            f"accuracy of {point['accuracy']}"
        )
    return bits[:texts]


def _effect(measure: Measure, own: CellRecord, rival: CellRecord, reference: CellRecord) -> tuple[float, str]:
    worse = math.inf if measure.kind in COSTS else -math.inf
    needed = (own, rival) if measure.kind in WITHOUT_REFERENCE else (own, rival, reference)
    ended = [record for record in needed if record.status == "diverged"]
    if reference in ended and measure.kind not in WITHOUT_REFERENCE:
        return math.nan, f"{_name(reference)} diverged, so there is nothing to be reached"
    if own in ended and rival in ended:
        return math.nan, "both diverged"
    if own in ended or rival in ended:
        return (worse, f"{_name(own)} diverged") if own in ended else (-worse, f"{_name(rival)} diverged")
    for record in needed:
        if lacking := _lacking(measure, record):
            return math.nan, f"{_name(record)} has no {lacking}"
    return _KINDS[measure.kind](measure, own, rival, reference)


def _lacking(measure: Measure, record: CellRecord) -> str:
    """Name what a record does not have of what is compared: others than this study's runner may have written it."""
    if measure.kind == "steps_ratio" or (measure.kind == "time_ratio" and measure.until == "target"):
        return (
            ""
            if record.metrics.get("curve", {}).get("dev_loss")
            else "loss on development texts over its steps"
        )
    needed = {
        "lost_ratio": (measure.score, "lost"),
        "lost_difference": (measure.score, "lost"),
        "scaling_ratio": (measure.score, "lost"),
        "scaling_difference": (measure.score, "lost"),
        "perturbation_ratio": (measure.score, "drift"),
        "time_ratio": (),
    }.get(measure.kind, (measure.score,))
    lacking = [name for name in needed if not _is_told(record, name)]
    if (
        measure.kind not in ("score_difference", "time_ratio")
        and record.metrics["start"].get(measure.score) is None
    ):
        lacking.append(f"{measure.score} of its start")
    return ", ".join(lacking)


def _is_told(record: CellRecord, name: str) -> bool:
    return all(point.get(name) is not None for point in record.metrics["points"])


def _least_lost(
    measure: Measure, own: CellRecord, rival: CellRecord, reference: CellRecord
) -> tuple[float, str]:
    cost: Cost = "drift" if measure.kind == "perturbation_ratio" else "lost"
    wanted = float(scores_along(reference, measure.score)[0]) + measure.level
    if own.metrics["start"][measure.score] >= wanted:
        return math.nan, "the start has the score already"
    found = [float(least_lost(*whole_path(one, measure.score, cost), wanted)) for one in (own, rival)]
    reached = [math.inf if math.isnan(value) else value for value in found]
    if measure.kind == "lost_difference":
        return _difference(reached[0], reached[1], own, rival)
    return _log_ratio(reached[0], reached[1], own, rival, "never has the score")


def _beside_scaling(
    measure: Measure, own: CellRecord, rival: CellRecord, reference: CellRecord
) -> tuple[float, str]:
    (first, why), (second, other) = (_over_scaling(measure, one, reference) for one in (own, rival))
    if math.isnan(first) or math.isnan(second):
        return math.nan, why if math.isnan(first) else other
    if math.isinf(first) and first == second:
        return math.nan, f"{why}; {other}"
    return first - second, why or other


def _over_scaling(measure: Measure, record: CellRecord, reference: CellRecord) -> tuple[float, str]:
    if record is reference:
        return 0.0, ""  # scaling beside itself, whichever of its states is the best
    lost, score = (float(values[0]) for values in scaling_curve(record, measure.score))
    scaled = float(least_lost(*scaling_curve(reference, measure.score), score))
    scaled = math.inf if math.isnan(scaled) else scaled
    if measure.kind == "scaling_difference":
        return _difference(lost, scaled, record, reference)
    return _log_ratio(lost, scaled, record, reference, "never has the score")


def _difference(first: float, second: float, own: CellRecord, rival: CellRecord) -> tuple[float, str]:
    """Subtract what is lost, infinite where the score is never there."""
    if math.isinf(first) and math.isinf(second):
        return math.nan, f"neither {_name(own)} nor {_name(rival)} ever has the score"
    reason = f"{_name(own)} never has the score" if math.isinf(first) else ""
    reason = f"{_name(rival)} never has the score" if math.isinf(second) else reason
    return first - second, reason


def _score_difference(
    measure: Measure, own: CellRecord, rival: CellRecord, _reference: CellRecord
) -> tuple[float, str]:
    scores = [float(scores_along(one, measure.score)[0]) for one in (own, rival)]
    return scores[0] - scores[1], ""


def _best_scaling_difference(
    measure: Measure, own: CellRecord, rival: CellRecord, _reference: CellRecord
) -> tuple[float, str]:
    best = scores_along(rival, measure.score).max()
    return float(scores_along(own, measure.score)[0] - best), ""


def _steps_ratio(
    _measure: Measure, own: CellRecord, rival: CellRecord, reference: CellRecord
) -> tuple[float, str]:
    target = best_smoothed_loss(reference)
    steps = [reached_at(one, target)[0] for one in (own, rival)]
    return _log_ratio(steps[0], steps[1], own, rival, "never has the loss")


def _time_ratio(
    measure: Measure, own: CellRecord, rival: CellRecord, reference: CellRecord
) -> tuple[float, str]:
    if measure.until == "target":
        target = best_smoothed_loss(reference)
        seconds = [reached_at(one, target)[1] for one in (own, rival)]
    else:
        seconds = [sum(one.cpu_seconds.get(part, 0.0) for part in measure.seconds) for one in (own, rival)]
    return _log_ratio(seconds[0], seconds[1], own, rival, "never has the loss")


_KINDS: Mapping[Kind, Callable[[Measure, CellRecord, CellRecord, CellRecord], tuple[float, str]]] = {
    "lost_ratio": _least_lost,
    "lost_difference": _least_lost,
    "scaling_ratio": _beside_scaling,
    "scaling_difference": _beside_scaling,
    "perturbation_ratio": _least_lost,
    "score_difference": _score_difference,
    "best_scaling_difference": _best_scaling_difference,
    "steps_ratio": _steps_ratio,
    "time_ratio": _time_ratio,
}


def _log_ratio(
    first: float, second: float, own: CellRecord, rival: CellRecord, never: str
) -> tuple[float, str]:
    """Take the logarithm of first over second, none of which may be below 0."""
    if min(first, second) < 0:
        return math.nan, "what is lost is below 0, of which there is no ratio"
    if math.isinf(first) and math.isinf(second):
        return math.nan, f"neither {_name(own)} nor {_name(rival)} ever {never.removeprefix('never ')}"
    if first == second == 0:
        return math.nan, "both are 0"
    if math.isinf(first) or second == 0:
        return math.inf, f"{_name(own)} {never}" if math.isinf(first) else f"{_name(rival)} has 0"
    if math.isinf(second) or first == 0:
        return -math.inf, f"{_name(rival)} {never}" if math.isinf(second) else f"{_name(own)} has 0"
    return math.log(first / second), ""


def _name(record: CellRecord) -> str:
    return record.method if record.after is None else f"{record.method}+{record.after}"
