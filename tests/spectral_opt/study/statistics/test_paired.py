import math

import numpy as np
import pytest
from scipy import stats

from spectral_opt.study.statistics import (
    minimum_detectable,
    one_sided_p_value,
    summarize_paired,
    two_level_interval,
)

EFFECTS = [0.1, 0.3, 0.2, -0.1, 0.4, 0.15, 0.05, 0.22]


def test_mean_interval_and_p_values_are_scipys():
    found, peer = summarize_paired(EFFECTS), stats.ttest_1samp(EFFECTS, 0.0)
    ends = peer.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.t_p_value == pytest.approx(peer.pvalue)
    assert found.wilcoxon_p_value == pytest.approx(stats.wilcoxon(EFFECTS).pvalue)
    assert (found.center, found.n, found.sd) == ("mean", 8, pytest.approx(np.std(EFFECTS, ddof=1)))


def test_the_bootstrap_interval_of_many_normal_effects_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(1.0, 2.0, size=400)
    found = summarize_paired(values.tolist())
    # Both ends are normal quantiles there; 9,999 draws leave 2 % of the half width.
    half = 1.96 * found.sd / math.sqrt(400)
    assert found.bootstrap_low == pytest.approx(found.estimate - half, abs=0.05 * half)
    assert found.bootstrap_high == pytest.approx(found.estimate + half, abs=0.05 * half)


def test_the_order_of_seeds_changes_nothing():
    assert summarize_paired(EFFECTS[::-1]) == summarize_paired(EFFECTS)


def test_infinite_effects_are_not_left_out_the_median_stands_for_them():
    values = [*range(1, 18), math.inf, math.inf, math.inf]
    found = summarize_paired(values)
    # Of 20, the 6th and the 15th: 2 P(Binomial(20, 1/2) <= 5) = .041.
    assert (found.center, found.estimate, found.low, found.high) == ("median", 10.5, 6.0, 15.0)
    assert summarize_paired([*range(9), *[math.inf] * 11]).estimate == math.inf


def test_between_infinitely_worse_and_infinitely_better_is_nothing():
    assert summarize_paired([-math.inf, math.inf]).estimate == 0
    assert summarize_paired([-math.inf, -1.0, 3.0, math.inf]).estimate == 1


def test_too_few_infinite_effects_have_no_bound():
    found = summarize_paired([0.1, math.inf, 0.2])
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_one_seed_has_no_interval():
    found = summarize_paired([0.3])
    assert (found.estimate, found.low, found.t_p_value) == (0.3, None, None)
    assert one_sided_p_value([0.3], 1.0, "below") == 1.0


@pytest.mark.parametrize("value", [0.0, 0.2])
def test_effects_that_are_all_alike_are_judged_by_their_signs(value):
    # No spread is seen, which is not that there is none: of two seeds alike nothing follows.
    assert one_sided_p_value([value] * 2, value - 0.1, "above") == pytest.approx(0.25)
    assert one_sided_p_value([value] * 10, value + 0.1, "below") == pytest.approx(0.5**10)
    assert one_sided_p_value([value] * 10, value + 0.1, "above") == 1.0
    few, many = (summarize_paired([value] * n) for n in (5, 6))
    assert (few.center, few.estimate, few.low, few.high) == ("median", value, -math.inf, math.inf)
    assert (many.low, many.high, many.sd, many.detectable) == (value, value, 0.0, None)


@pytest.mark.parametrize("values", [[], [0.1, math.nan]])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(ValueError, match="one for each seed"):
        summarize_paired(values)


@pytest.mark.parametrize("endless", [0, 1, 3])
@pytest.mark.parametrize("bound", [-0.2, 0.05, 0.1, 0.21, 0.24, 0.28, 0.35, 0.5])
def test_the_one_sided_p_value_is_that_of_the_intervals_end(bound, endless):
    values = EFFECTS + [math.inf] * endless
    found = summarize_paired(values)
    assert (one_sided_p_value(values, bound, "below") < 0.025) == (found.high < bound)
    assert (one_sided_p_value(values, bound, "above") < 0.025) == (found.low > bound)


def test_the_detectable_difference_is_found_in_four_of_five_studies():
    n, sd = 20, 0.7
    difference = minimum_detectable(sd, n)
    drawn = np.random.default_rng(0).normal(difference, sd, size=(20_000, n))
    share = (stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05).mean()
    assert share == pytest.approx(0.8, abs=0.01)  # its standard error is .003


def test_the_detectable_difference_of_many_seeds_is_the_normal_one():
    assert minimum_detectable(1.0, 10_000) == pytest.approx((1.95996 + 0.84162) / 100, rel=1e-3)
    assert minimum_detectable(1.0, 2) > minimum_detectable(1.0, 3) > minimum_detectable(1.0, 20)
    with pytest.raises(ValueError, match="two seeds"):
        minimum_detectable(1.0, 1)


@pytest.mark.parametrize("n", range(2, 31))
def test_the_noncentral_distribution_is_solved_for_every_number_of_seeds(n):
    difference = minimum_detectable(0.01, n)
    found = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, difference * math.sqrt(n) / 0.01)
    assert found == pytest.approx(0.8, abs=1e-6)


def test_of_one_seed_the_interval_over_texts_is_the_normal_one():
    texts = 2000
    first, second = np.zeros(texts, dtype=bool), np.zeros(texts, dtype=bool)
    first[:400], second[300:500] = True, True  # 300 texts that the first alone has right, 100 the second
    low, high = two_level_interval([first], [second])
    half = 1.96 * math.sqrt((0.2 - 0.1**2) / texts)
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), abs=0.05 * half)


def test_few_texts_widen_the_interval_over_seeds():
    generator = np.random.default_rng(0)
    texts = [generator.random(50) < 0.7 for _ in range(12)], [generator.random(50) < 0.6 for _ in range(12)]
    means = np.array([a.mean() - b.mean() for a, b in zip(*texts, strict=True)])
    low, high = two_level_interval(*texts)
    assert low < means.mean() < high
    assert (
        high - low
        > summarize_paired(means.tolist()).bootstrap_high - summarize_paired(means.tolist()).bootstrap_low
    )


def test_answers_of_other_seeds_are_not_paired():
    with pytest.raises(ValueError, match="the same texts"):
        two_level_interval([np.ones(3, dtype=bool)] * 2, [np.ones(3, dtype=bool)])
