"""Does the filter do the task better than scaling the delta, where both forget as much? Text by text, on test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from paramgraph.comparison import holm
from spectral_opt.sweep._measures import Values, mean_interval
from spectral_opt.sweep.strengths import SweepPoint

RESAMPLES = 9999
# Flipped differences that are in memory at a time.
BATCH = 1_000_000


def compare_at_equal_forgetting(
    points: Sequence[SweepPoint], higher_is_better: bool, seed: int
) -> dict[str, Any]:
    r"""Compare each strength of the filter with scaling at the forgetting of that strength.

    The values of scaling there are interpolated text by text between the two measured factors around it, from the base
    (0) to the fine-tune (1):

    .. math:: d_t = v_t(filter) - (1 - w) v_t(a) - w v_t(b)

    with a sign such that a gain is positive. "by_strength" has a row for each strength, with the p-value of sign flips
    of :math:`d_t`, corrected by Holm's method over the strengths; "mean" is the one test of the mean of :math:`d_t`
    over them. A strength outside the front has no scaling beside it, and no gain; "mean" is None where none has one.
    """
    front = [point for point in points if point.family != "filter" and point.test is not None]
    front.sort(key=lambda point: float(point.forgotten.per_text.mean()))
    places = [float(point.forgotten.per_text.mean()) for point in front]
    rows: list[dict[str, Any]] = []
    every: list[Values] = []
    for point in points:
        if point.family != "filter" or point.test is None or not front:
            continue
        place = float(point.forgotten.per_text.mean())
        row: dict[str, Any] = {"strength": point.strength, "forgotten": place}
        row["filter"] = float(point.test.values.mean())
        row |= dict.fromkeys(("scaling", "gain", "gain_low", "gain_high", "p_value", "p_holm"))
        if places[0] <= place <= places[-1]:
            scaling = _interpolated(front, places, place)
            gains = (point.test.values - scaling) * (1 if higher_is_better else -1)
            every.append(gains)
            row |= {"scaling": float(scaling.mean()), **_tested(gains, seed)}
        rows.append(row)
    tested = [row for row in rows if row["p_value"] is not None]
    for row, corrected in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_holm"] = corrected
    return {"by_strength": rows, "mean": _tested(np.mean(every, axis=0), seed) if every else None}


def sign_flip_p_value(differences: Values, seed: int) -> float:
    """Return the two-sided p-value of paired differences around 0, by random flips of their signs.

    >>> sign_flip_p_value(np.zeros(20), 0)
    1.0
    """
    found = stats.permutation_test(
        (differences,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=1 + BATCH // len(differences),  # all flips of 5,000 texts at once are 3 GB
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _tested(gains: Values, seed: int) -> dict[str, float]:
    mean, low, high = mean_interval(gains, seed)
    return {"gain": mean, "gain_low": low, "gain_high": high, "p_value": sign_flip_p_value(gains, seed)}


def _interpolated(front: Sequence[SweepPoint], places: Sequence[float], place: float) -> Values:
    after = min(max(int(np.searchsorted(places, place)), 1), len(front) - 1)
    before, width = max(after - 1, 0), places[after] - places[max(after - 1, 0)]
    weight = (place - places[before]) / width if width > 0 else 1.0
    first, second = front[before].test, front[after].test
    assert first is not None, "the front has what was tested"
    assert second is not None, "the front has what was tested"
    mixed: Values = (1 - weight) * first.values + weight * second.values
    return mixed
