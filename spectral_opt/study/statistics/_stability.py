"""How steady a method is: over its steps, over seeds, and at three times its rate."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded where they are used: stats takes a second

from spectral_opt.study import CellRecord
from spectral_opt.study.statistics._effects import Measure, SeedEffects, seed_effects
from spectral_opt.study.statistics._equal_score import Score, tuned_by
from spectral_opt.study.statistics._labels import label_of
from spectral_opt.study.statistics._paired import CONFIDENCE, are_alike

# Steps that the running median looks back, and how many of them it needs.
WINDOW, LEAST = 25, 5
# In nats: twice a loss of .01 is no spike.
FLOOR = 0.1


def loss_spikes(losses: Sequence[float], factor: float = 2.0) -> int:
    """Count the steps whose loss is above `factor` times the median of the 25 steps before, and above .1.

    >>> loss_spikes([0.5] * 10 + [1.2] + [0.5] * 10)
    1
    """
    values = np.asarray(losses, dtype=float)
    if len(values) <= LEAST:
        return 0
    behind = np.concatenate([np.full(WINDOW, np.nan), values[:-1]])
    windows = np.lib.stride_tricks.sliding_window_view(behind, WINDOW)[
        LEAST:
    ]  # (steps, WINDOW), NaN before the first
    later = values[LEAST:]
    return int(((later > factor * np.nanmedian(windows, axis=1)) & (later > FLOOR)).sum())


def spread(scores: Sequence[float]) -> tuple[float, float, float]:
    """Return the standard deviation of seeds' scores, and the 95 % ends by the chi-square distribution.

    It holds for scores that are normal over seeds. Fewer than two: ValueError.
    """
    n = len(scores)
    if n < 2:
        raise ValueError(f"a spread is over two seeds at least, got {n}")
    sd = float(np.std(scores, ddof=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = (sd * math.sqrt((n - 1) / scipy.stats.chi2.ppf(share, n - 1)) for share in (1 - tail, tail))
    return sd, float(low), float(high)


def compare_spreads(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the ratio of two standard deviations of scores that are paired by seed, and its two-sided p-value.

    It is the test of Pitman and Morgan (Biometrika 31, 1939): spreads are equal where sum and difference do not
    correlate. Where one alone has no spread, as scores of some hundred texts may have none, they always do, and the
    p-value is not a number. Fewer than three seeds: ValueError.
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if len(one) != len(other) or len(one) < 3:
        raise ValueError(
            f"spreads are compared over three seeds of both at least, got {len(one)} and {len(other)}"
        )
    # Of equal numbers rounding leaves some.
    widths = [0.0 if are_alike(side) else side.std(ddof=1) for side in (one, other)]
    ratio = float(widths[0] / widths[1]) if widths[1] else (math.inf if widths[0] else math.nan)
    if not all(widths) and any(widths):
        return ratio, math.nan
    total, difference = one + other, one - other
    if np.ptp(total) == 0 or np.ptp(difference) == 0:
        return ratio, 1.0
    return ratio, float(scipy.stats.pearsonr(total, difference).pvalue)


@dataclass(frozen=True)
class RateSensitivity:
    """What a method's score loses at three times a learning rate, by seed: negative where it is worse."""

    part: str
    task: str
    shots: int
    label: str
    learning_rate: float
    effects: SeedEffects


def rate_sensitivity(
    records: Iterable[CellRecord], score: Score | None = None, factor: float = 3.0
) -> list[RateSensitivity]:
    """Compare runs that are alike but for a learning rate that is `factor` times as large, in one part.

    Without a `score`, it is that by which methods are tuned.
    A run that diverged at the larger rate is infinitely worse. Methods that ran at one rate alone are not there.
    """
    groups = dict[tuple[object, ...], dict[float, dict[int, CellRecord]]]()
    for record in records:
        if record.after is not None or not isinstance(record.options.get("learning_rate"), int | float):
            continue
        options = {name: value for name, value in record.options.items() if name != "learning_rate"}
        key = (record.part, record.task, record.shots, record.method, tuple(sorted(options.items())))
        rate = float(record.options["learning_rate"])
        groups.setdefault(key, {}).setdefault(rate, {})[record.seed] = record
    found = []
    for rates in groups.values():
        for rate, own in sorted(rates.items()):
            larger = next(
                (other for other in rates if math.isclose(other, factor * rate, rel_tol=1e-6)), None
            )
            if larger is None:
                continue
            measured = score or tuned_by(next(iter(own.values())).kind)
            effects = seed_effects(Measure("score_difference", measured), rates[larger], own, own)
            one = next(iter(own.values()))
            found.append(RateSensitivity(one.part, one.task, one.shots, _full(one), rate, effects))
    return found


def _full(record: CellRecord) -> str:
    options = [f"{name}={value}" for name, value in sorted(record.options.items()) if name != "learning_rate"]
    return ",".join([label_of(record), *options])
