"""Filter and rivals compared on test: the task where both forget as much, and forgetting where both are as good."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from paramgraph.comparison import holm
from spectral_opt.study import paired_p_value, sign_flip_p_value
from spectral_opt.study.statistics import least_lost
from spectral_opt.sweep._measures import Forgotten
from spectral_opt.sweep._metrics import Draws, Metric, TaskResult, Values, Weights, resampled
from spectral_opt.sweep._points import SweepPoint, around, front_of

HeldOut = Float[np.ndarray, "draws held_out"]


def compare_at_equal_forgetting(
    points: Sequence[SweepPoint], metric: Metric, seed: int, rival: str = "scaling"
) -> dict[str, Any]:
    r"""Compare each strength of the filter with a rival, scaling or a null, at the forgetting of that strength.

    The rival there is interpolated between its two measured states around it, from the base to the fine-tune, text by
    text where texts have a score:

    .. math:: d_t = v_t(filter) - (1 - w) v_t(a) - w v_t(b)

    with a sign such that a gain is positive. "by_strength" has a row for each strength, with the p-value of sign flips
    of :math:`d_t`, corrected by Holm's method over the strengths; "mean" is the one test of the mean of :math:`d_t`
    over them. A metric that is no mean over texts is interpolated as it is, and its p-value is that of the paired
    bootstrap. Of right and wrong answers a row has McNemar's p-value at the measured state that forgets most nearly as
    much. A strength outside the front has nothing beside it, and no gain; "mean" is None where none has one.
    """
    front = front_of(points, rival)
    rows: list[dict[str, Any]] = []
    every: list[_Gain] = []
    for point in points:
        if point.family != "filter" or point.test is None:
            continue
        row: dict[str, Any] = {"strength": point.strength, "forgotten": point.forgotten.mean}
        row["filter"] = metric.score(point.test)
        row |= dict.fromkeys((rival, "gain", "gain_low", "gain_high", "p_value", "p_holm"))
        found = around(front, point.forgotten.mean)
        if found is not None:
            first, second, weight = found
            assert first.test is not None, "the front has what was tested"
            assert second.test is not None, "the front has what was tested"
            gain = _Gain(metric, point.test, first.test, second.test, weight, seed)
            every.append(gain)
            row |= {rival: gain.rival, **_tested([gain], seed)}
            if metric.is_share:
                row |= _matched(point, front, metric)
        rows.append(row)
    tested = [row for row in rows if row["p_value"] is not None]
    for row, corrected in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_holm"] = corrected
    return {"by_strength": rows, "mean": _tested(every, seed) if every else None}


def compare_at_equal_score(points: Sequence[SweepPoint], metric: Metric, seed: int) -> list[dict[str, Any]]:
    """Compare what each strength of the filter forgot with what scaling forgets at the same test score.

    Forgetting is the share of neighbours that are gone, of a language model the loss beyond the base's. Scaling is the
    line through its states in the order of their factors, at the least forgetting that has this score; a filter that
    is better than every factor has nothing beside it. Intervals are of the bootstrap over test texts and held-out
    texts together; `reached` is the share of its draws in which a factor has the score, in the others scaling counts
    with the most that any factor forgets, which is too little.
    """
    front = front_of(points, "scaling")
    rows = []
    for point in points:
        if point.family != "filter" or point.test is None:
            continue
        task = metric.resampled(point.test, seed)
        held_out = resampled(len(point.forgotten.per_text), seed + 1)
        lost, beside = _lost(point, front, metric, task, held_out)
        here, there = _lost(
            point, front, metric, np.ones((1, task.shape[1])), np.ones((1, held_out.shape[1]))
        )
        row: dict[str, Any] = {
            "strength": point.strength,
            "task": metric.score(point.test),
            "filter": float(here[0]),
        }
        row |= dict.fromkeys(("scaling", "less", "less_low", "less_high", "ratio", "ratio_low", "ratio_high"))
        row["reached"] = float(np.isfinite(beside).mean())
        if np.isfinite(there[0]):
            most = np.max([_forgetting(one.forgotten, held_out) for one in front], axis=0)
            beside = np.where(np.isfinite(beside), beside, most)
            ends = np.percentile(beside - lost, [2.5, 97.5])
            row |= {"scaling": float(there[0]), "less": float(there[0] - here[0])}
            row |= {"less_low": float(ends[0]), "less_high": float(ends[1])}
            if point.forgotten.lost is not None and there[0] > 0:
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratios = np.where(beside > 0, lost / beside, np.nan)
                ends = np.nanpercentile(ratios, [2.5, 97.5])
                row |= {"ratio": float(here[0] / there[0])}
                row |= {"ratio_low": float(ends[0]), "ratio_high": float(ends[1])}
        rows.append(row)
    return rows


def bootstrap_p_value(drawn: Draws) -> float:
    """Return the two-sided p-value of a difference by its bootstrap draws: twice the share on the far side of 0.

    >>> bootstrap_p_value(np.array([1.0, 1.0, 1.0]))
    0.5
    """
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))


class _Gain:
    """The gain of one state over the mixture of two others: its score, its texts or its draws."""

    def __init__(
        self, metric: Metric, own: TaskResult, first: TaskResult, second: TaskResult, weight: float, seed: int
    ) -> None:
        self.of_texts = metric.per_text is not None

        def mixed(weights: Weights) -> Draws:
            drawn = (1 - weight) * metric.draws(first, weights) + weight * metric.draws(second, weights)
            return metric.shown(drawn)

        def gains(weights: Weights) -> Draws:
            found: Draws = metric.sign * (metric.shown(metric.draws(own, weights)) - mixed(weights))
            return found

        alone = np.ones((1, len(own.losses)))
        self.rival, self.mean = float(mixed(alone)[0]), float(gains(alone)[0])
        self.draws = gains(metric.resampled(own, seed))
        if metric.per_text is not None:
            values = (1 - weight) * metric.per_text(first) + weight * metric.per_text(second)
            self.texts: Values = metric.sign * (metric.per_text(own) - values)


def _tested(gains: Sequence[_Gain], seed: int) -> dict[str, float]:
    """Test the mean of gains of the same texts."""
    drawn = np.mean([gain.draws for gain in gains], axis=0)
    low, high = np.percentile(drawn, [2.5, 97.5])
    if gains[0].of_texts:
        p_value = sign_flip_p_value(np.mean([gain.texts for gain in gains], axis=0), seed)
    else:
        p_value = bootstrap_p_value(drawn)
    mean = float(np.mean([gain.mean for gain in gains]))
    return {"gain": mean, "gain_low": float(low), "gain_high": float(high), "p_value": p_value}


def _matched(point: SweepPoint, front: Sequence[SweepPoint], metric: Metric) -> dict[str, Any]:
    nearest = min(front, key=lambda one: abs(one.forgotten.mean - point.forgotten.mean))
    assert point.test is not None, "the caller has looked"
    assert nearest.test is not None, "the front has what was tested"
    p_value = paired_p_value(point.test.right.astype(bool), nearest.test.right.astype(bool))
    return {
        "matched_strength": nearest.strength,
        "matched_forgotten": nearest.forgotten.mean,
        "matched": metric.score(nearest.test),
        "mcnemar_p_value": p_value,
    }


def _lost(
    point: SweepPoint, front: Sequence[SweepPoint], metric: Metric, task: Weights, held_out: HeldOut
) -> tuple[Draws, Draws]:
    """Give for each draw what the point forgot, and the least that scaling forgets at its score; NaN: none."""
    scores = np.stack([metric.sign * metric.draws(one.test, task) for one in front if one.test is not None])
    forgot = np.stack([_forgetting(one.forgotten, held_out) for one in front])
    assert point.test is not None, "the caller has looked"
    wanted = metric.sign * metric.draws(point.test, task)
    return _forgetting(point.forgotten, held_out), least_lost(forgot, scores, wanted)


def _forgetting(forgotten: Forgotten, held_out: Weights) -> Draws:
    values = forgotten.per_text if forgotten.lost is None else forgotten.lost
    drawn: Draws = held_out @ values / held_out.sum(axis=1)
    return drawn
