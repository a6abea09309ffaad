"""What is lost at one score, on the lines between the states of a curve."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from spectral_opt.study import CAUSAL_LM, CLASSIFICATION, CellRecord, TaskKind

Cost = Literal["lost", "drift"]
Score = Literal["accuracy", "auc", "balanced_accuracy", "macro_f1", "log_likelihood"]
# What each kind of task has of them: methods are tuned by the first, and compared at the second, if there is one.
SCORES: Mapping[TaskKind, tuple[Score, ...]] = {
    CLASSIFICATION: ("accuracy", "auc", "balanced_accuracy", "macro_f1"),
    CAUSAL_LM: ("log_likelihood",),
}


def tuned_by(kind: TaskKind) -> Score:
    """Give the score by which a method's options are chosen."""
    return SCORES[kind][0]


def compared_at(kind: TaskKind) -> Score:
    """Give the score at which what is lost is compared."""
    return SCORES[kind][:2][-1]


def level_of(score: Score) -> float:
    """Give how far below the fine-tune's own score filters are compared: in nats .03 are 3 % of the perplexity."""
    return -0.03 if score == "log_likelihood" else -0.01


def least_lost(
    lost: Float[np.ndarray, "states ..."],
    scores: Float[np.ndarray, "states ..."],
    wanted: float | Float[np.ndarray, "..."],
) -> Float[np.ndarray, "..."]:
    """Find the least that a curve loses where it has a score at least, NaN where it never has it.

    The curve is the line through its states in their order: it is met at each state that is as good at least, and
    where a line between two states crosses the score. Axes behind the first are draws of their own.

    >>> curve = np.array([0.6, 0.2, 0.1]), np.array([0.9, 0.8, 0.6])
    >>> round(float(least_lost(*curve, 0.85)), 2), float(least_lost(*curve, 0.95))
    (0.4, nan)
    """
    least = np.where(scores >= wanted, lost, np.inf).min(axis=0)
    width = np.diff(scores, axis=0)
    share = np.divide(wanted - scores[:-1], width, out=np.zeros_like(width), where=width != 0)
    crossed = (share >= 0) & (share <= 1) & (width != 0)
    there = np.where(crossed, (1 - share) * lost[:-1] + share * lost[1:], np.inf)
    least = np.minimum(least, there.min(axis=0, initial=np.inf))
    return np.asarray(np.where(np.isfinite(least), least, np.nan))


def whole_path(
    record: CellRecord, score: Score, cost: Cost = "lost"
) -> tuple[Float[np.ndarray, " states"], Float[np.ndarray, " states"]]:
    """Return cost and score on the way from the fine-tune to the start: of a filter from no strength to its own.

    The fine-tune is the filter at strength 0, so the way begins there; then follows the scaling curve.
    """
    costs, scores = scaling_curve(record, score, cost)
    tuned = record.metrics.get("tuned")
    if tuned is None:
        return costs, scores
    return np.append(float(tuned[cost]), costs), np.append(float(tuned[score]), scores)


def scaling_curve(
    record: CellRecord, score: Score, cost: Cost = "lost"
) -> tuple[Float[np.ndarray, " states"], Float[np.ndarray, " states"]]:
    """Return cost and score of a record's states on its own scaling curve: the state itself, its factors, the start.

    The start has lost nothing and not moved. A change that cannot be scaled has one state, and no line to the start.
    A diverged run has no states: ValueError.
    """
    scores = scores_along(record, score)
    costs = [float(point[cost]) for point in _states(record)]
    return np.array([*costs, 0.0][: len(scores)]), scores


def scores_along(record: CellRecord, score: Score) -> Float[np.ndarray, " states"]:
    """Return the scores of the states of `scaling_curve`, the state itself first."""
    states = _states(record)
    ends = [record.metrics["start"]] if len(states) > 1 else []
    return np.array([float(point[score]) for point in (*states, *ends)])


def _states(record: CellRecord) -> list[dict[str, float]]:
    points = record.metrics.get("points")
    if not points:
        raise ValueError(
            f"{record.method} of seed {record.seed} has no states: {record.message or record.status}"
        )
    return sorted(points, key=lambda point: -point["factor"])
