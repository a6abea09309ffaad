"""Which state is written, and why: one rule, on the texts that pick alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spectral_opt.sweep._metrics import Metric
from spectral_opt.sweep._points import SweepPoint, around, front_of

Reason = Literal[
    "nothing forgotten",
    "asked for",
    "kept already",
    "no task data",
    "no state passes",
    "filter",
    "scaling",
    "no filter passes",
    "no factor passes",
]


@dataclass(frozen=True)
class Decision:
    """The family and strength that are written, and the reason.

    `filter_dev` and `scaling_dev` are the scores on dev of the filter's pick and of scaling where it forgets as much,
    where the two were compared.
    """

    family: Literal["tuned", "filter", "scaling"]
    strength: float
    reason: Reason
    filter_dev: float | None = None
    scaling_dev: float | None = None
    # Of the paired difference of what is written and the fine-tune on dev, before `shown`: what it may be worse by.
    standard_error: float | None = None


def decide(
    points: Sequence[SweepPoint],
    metric: Metric,
    seed: int,
    *,
    has_forgotten: bool,
    asked: float | None,
    default: float,
) -> Decision:
    """Decide on dev between filter and scaling, each by its pick.

    The filter's pick is written unless scaling, where it forgets as much, does the task better on dev; then scaling's
    pick is, where it has one. Where the filter has none, scaling's is written; where neither has one, the fine-tune. A
    strength that was asked for is written whatever the comparison says, and the default one where there are no task
    data.
    """
    tuned = next(point for point in points if point.family == "tuned")
    if not has_forgotten:
        return Decision("tuned", 1.0, "nothing forgotten")
    if asked is not None:
        return Decision("filter", asked, "asked for") if asked else Decision("tuned", 1.0, "kept already")
    if tuned.dev is None:
        return Decision("filter", default, "no task data")
    filtered, scaled = (pick(points, family, metric, seed) for family in ("filter", "scaling"))
    if filtered is None and scaled is None:
        return Decision("tuned", 1.0, "no state passes")
    if filtered is None:
        assert scaled is not None, "one of the two passes"
        error = _error(scaled, tuned, metric, seed)
        return Decision("scaling", scaled.strength, "no filter passes", standard_error=error)
    assert filtered.dev is not None, "a pick has dev texts"
    score, beside = metric.score(filtered.dev), scaling_score(points, filtered.forgotten.mean, metric)
    is_better = beside is not None and metric.sign * (beside - score) > 0
    if is_better and scaled is not None:
        return Decision(
            "scaling", scaled.strength, "scaling", score, beside, _error(scaled, tuned, metric, seed)
        )
    reason: Reason = "no factor passes" if is_better else "filter"
    error = _error(filtered, tuned, metric, seed)
    return Decision("filter", filtered.strength, reason, score, beside, error)


def pick(points: Sequence[SweepPoint], family: str, metric: Metric, seed: int) -> SweepPoint | None:
    """Pick, of the states of a family that are as good as the fine-tune on dev, the one that forgot least.

    None where no state is, or the fine-tune forgot less than those that are.
    """
    tuned = next(point for point in points if point.family == "tuned")
    allowed = [point for point in points if point.family == family and is_as_good(point, tuned, metric, seed)]
    least = min(allowed, key=lambda point: point.forgotten.mean, default=None)
    return least if least is not None and least.forgotten.mean < tuned.forgotten.mean else None


def is_as_good(point: SweepPoint, tuned: SweepPoint, metric: Metric, seed: int) -> bool:
    """Say whether a state is at most one standard error of the paired difference worse than the fine-tune.

    .. [1] L. Breiman et al., "Classification and Regression Trees", 1984: the one-standard-error rule.
    """
    assert point.dev is not None, "picked with task data alone"
    assert tuned.dev is not None, "picked with task data alone"
    worse, error = metric.excess(point.dev, tuned.dev, seed)
    return worse <= error


def _error(point: SweepPoint, tuned: SweepPoint, metric: Metric, seed: int) -> float:
    assert point.dev is not None, "a pick has dev texts"
    assert tuned.dev is not None, "a pick has dev texts"
    return metric.excess(point.dev, tuned.dev, seed)[1]


def scaling_score(points: Sequence[SweepPoint], place: float, metric: Metric) -> float | None:
    """Score scaling on dev where it forgets as much as `place`, between the two nearest factors."""
    found = around(front_of(points, "scaling"), place)
    if found is None:
        return None
    first, second, weight = found
    assert first.dev is not None, "all states have dev texts, or none"
    assert second.dev is not None, "all states have dev texts, or none"
    mixed = (1 - weight) * metric.raw(first.dev) + weight * metric.raw(second.dev)
    return float(metric.shown(np.array([mixed]))[0])
