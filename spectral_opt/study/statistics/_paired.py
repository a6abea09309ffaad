"""Effects that are paired by seed: how large, between which ends, and what a study of this size could have found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, stats

CONFIDENCE, POWER = 0.95, 0.8
RESAMPLES = 9999


@dataclass(frozen=True)
class PairedSummary:
    """Effects of one seed each, summed up; None where there are too few for it, infinite where it has no bound.

    The estimate is their mean, `low` and `high` the ends of its 95 % t interval. Where a seed's effect is infinite,
    because one of the two never came there, it is the median with its exact interval of order statistics: a seed
    counts with its side, and none is left out; half-way between infinitely worse and infinitely better is 0. So it is
    where all are alike, of which a t test knows no spread: of fewer than six the interval has no bound.
    `bootstrap_low` and `bootstrap_high` are BCa's of the mean. P-values are two-sided, around 0. `detectable` is the
    difference that 80 % of studies of this size and spread would find.
    """

    center: Literal["mean", "median"]
    estimate: float
    n: int
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    t_p_value: float | None = None
    wilcoxon_p_value: float | None = None
    detectable: float | None = None


def summarize_paired(effects: Sequence[float], seed: int = 0) -> PairedSummary:
    """Sum up one effect for each seed: differences or logarithms of ratios; NaN and no effect at all: ValueError."""
    # In one order, so that the bootstrap does not depend on that of the seeds.
    values = np.sort(np.asarray(effects, dtype=float))
    if not len(values) or np.isnan(values).any():
        raise ValueError(f"paired effects are numbers, one for each seed; got {list(effects)}")
    n = len(values)
    if not np.isfinite(values).all():
        return PairedSummary("median", _median(values), n, *_median_interval(values))
    mean = float(values.mean())
    if n == 1:
        return PairedSummary("mean", mean, n)
    if are_alike(values):
        return PairedSummary(
            "median", mean, n, *_median_interval(values), 0.0, wilcoxon_p_value=_wilcoxon(values)
        )
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    bootstrap = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return PairedSummary(
        "mean",
        mean,
        n,
        mean - half,
        mean + half,
        sd,
        _bound(bootstrap.low),
        _bound(bootstrap.high),
        float(stats.ttest_1samp(values, 0.0).pvalue),
        _wilcoxon(values),
        minimum_detectable(sd, n),
    )


def one_sided_p_value(effects: Sequence[float], bound: float, side: Literal["below", "above"]) -> float:
    """Return the p-value that the effect is not on a side of `bound`: of the t test, or of the sign test of the median.

    It is the test of `summarize_paired`'s interval: below .025 where the interval is wholly on that side. One seed
    alone tests nothing, and has 1.
    """
    values = np.asarray(effects, dtype=float)
    alternative: Literal["less", "greater"] = "less" if side == "below" else "greater"
    if len(values) < 2 and np.isfinite(values).all():
        return 1.0
    if not np.isfinite(values).all() or are_alike(values):
        # The quantile is less than the bound: that is what the alternative of the same name says.
        return float(stats.quantile_test(values, q=bound, p=0.5, alternative=alternative).pvalue)
    return float(stats.ttest_1samp(values, bound, alternative=alternative).pvalue)


def minimum_detectable(sd: float, n: int, power: float = POWER, alpha: float = 1 - CONFIDENCE) -> float:
    r"""Return the mean difference that a two-sided paired t test finds with probability `power`.

    It solves :math:`P(T_{n-1}(\delta \sqrt n / \sigma) > t_{1-\alpha/2}) = power` with the noncentral t distribution.

    >>> round(minimum_detectable(1.0, 20), 3)
    0.66
    """
    if n < 2:
        raise ValueError(f"a paired test is of two seeds at least, got {n}")
    edge = stats.t.ppf(1 - alpha / 2, n - 1)

    # Where the power is .8 the far side is found in fewer than one study of a million.
    def lacking(shift: float) -> float:
        return float(stats.nct.sf(edge, n - 1, shift)) - power

    # 80 % are found a little above the edge: at 3.1 for 20 seeds, whose edge is 2.1, at 16 for 2, whose edge is 12.7.
    return float(optimize.brentq(lacking, 0.0, 1.5 * edge + 4)) * sd / math.sqrt(n)


def two_level_interval(
    first: Sequence[Bool[np.ndarray, " texts"]],
    second: Sequence[Bool[np.ndarray, " texts"]],
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % ends of the mean difference in accuracy of two methods, over seeds and over texts.

    There is an array of right and wrong answers for each seed, of the same texts for both methods. Each draw of the
    bootstrap takes seeds with replacement, then texts of each with replacement: A. C. Davison and D. V. Hinkley,
    "Bootstrap Methods and their Application", 1997, section 3.8.
    """
    if len(first) != len(second) or any(len(a) != len(b) for a, b in zip(first, second, strict=False)):
        raise ValueError("answers of two methods are paired: the same seeds, and of each the same texts")
    generator = np.random.default_rng(seed)
    pairs = [
        (np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)) for a, b in zip(first, second, strict=True)
    ]
    counts = np.array([[(a & ~b).sum(), (b & ~a).sum(), (a == b).sum()] for a, b in pairs])
    # Only how often a text of each of the three kinds is drawn decides the mean: a multinomial number.
    counts = counts[np.lexsort(counts.T)]  # (seeds, 3), in one order
    sizes = counts.sum(axis=1)
    chosen = generator.integers(len(counts), size=(RESAMPLES, len(counts)))
    drawn = generator.multinomial(sizes[chosen], (counts / sizes[:, None])[chosen])  # (draws, seeds, 3)
    means = ((drawn[..., 0] - drawn[..., 1]) / sizes[chosen]).mean(axis=1)
    low, high = np.percentile(means, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def are_alike(values: Float[np.ndarray, " seeds"]) -> bool:
    """Tell whether all are one number, up to rounding: a grid of steps or some hundred texts often gives that."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def _median(values: Float[np.ndarray, " seeds"]) -> float:
    middle = values[[(len(values) - 1) // 2, len(values) // 2]]
    if middle[0] == -middle[1]:  # of -inf and inf too, which have no mean: as many on either side
        return 0.0
    return float(middle[0]) if middle[0] == middle[1] else float(middle.mean())


def _median_interval(values: Float[np.ndarray, " seeds"]) -> tuple[float, float]:
    """Give the exact ends by order statistics of sorted values; infinite where there are too few for any."""
    # The smallest count whose binomial probability is not below 2.5 %; scipy's quantile_test has the same ends.
    place = int(stats.binom.ppf((1 - CONFIDENCE) / 2, len(values), 0.5))
    return (float(values[place - 1]), float(values[-place])) if place else (-math.inf, math.inf)


def _wilcoxon(values: Float[np.ndarray, " seeds"]) -> float:
    return 1.0 if not values.any() else float(stats.wilcoxon(values).pvalue)


def _bound(end: float) -> float | None:
    return float(end) if np.isfinite(end) else None
