import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from spectral_opt.study.statistics import compare_spreads, loss_spikes, rate_sensitivity, spread
from tests.helpers.study_records import diverged, synthetic_plan, synthetic_records


def test_a_spike_is_a_loss_far_above_the_steps_before_it():
    steady = [0.6 - 0.005 * step for step in range(60)]
    assert loss_spikes(steady) == 0
    spiky = [3 * loss if step in (20, 40, 41) else loss for step, loss in enumerate(steady)]
    assert loss_spikes(spiky) == 3
    assert loss_spikes(spiky, factor=4.0) == 0


def test_the_first_steps_and_the_smallest_losses_have_no_spike():
    assert loss_spikes([0.1, 5.0, 0.1]) == 0
    assert loss_spikes([0.01] * 20 + [0.09]) == 0
    assert loss_spikes([]) == 0


def test_the_interval_of_a_spread_holds_the_true_one_in_95_of_100_studies():
    drawn = np.random.default_rng(0).normal(0, 2.0, size=(1000, 8))
    ends = np.array([spread(scores.tolist())[1:] for scores in drawn])
    covered = ((ends[:, 0] < 2) & (ends[:, 1] > 2)).mean()
    assert covered == pytest.approx(0.95, abs=0.02)  # its standard error is .007
    with pytest.raises(ValueError, match="two seeds"):
        spread([0.7])


def test_a_spread_twice_as_wide_is_told_from_chance():
    one = np.random.default_rng(0).normal(size=40)
    shared = np.random.default_rng(1).normal(size=40)
    ratio, p_value = compare_spreads((2 * one + shared).tolist(), (0.2 * one + shared).tolist())
    assert (ratio > 1.2, p_value < 0.001) == (True, True)
    assert compare_spreads(one.tolist(), one.tolist()) == (1.0, 1.0)
    assert compare_spreads((2 * one).tolist(), one.tolist())[0] == pytest.approx(2)
    assert compare_spreads([0.7, 0.7, 0.7], [0.7, 0.7, 0.7])[1] == 1.0
    ratio, p_value = compare_spreads([0.71, 0.69, 0.72], [0.7, 0.7, 0.7])
    assert (ratio, math.isnan(p_value)) == (math.inf, True)
    assert compare_spreads([0.7, 0.7, 0.7], [0.71, 0.69, 0.72])[0] == 0.0
    with pytest.raises(ValueError, match="three seeds"):
        compare_spreads([0.1, 0.2], [0.1, 0.2])


def test_equal_spreads_are_found_unequal_as_often_as_chance_has_it():
    drawn = np.random.default_rng(0).normal(size=(400, 2, 12)) + np.random.default_rng(1).normal(
        size=(400, 1, 12)
    )
    p_values = [compare_spreads(first.tolist(), second.tolist())[1] for first, second in drawn]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_runs_at_three_times_a_rate_are_beside_those_at_the_rate():
    records = list(synthetic_records(synthetic_plan(2)).values())
    tuned = [one for one in records if one.part == "tuning" and one.method == "adamw"]
    found = rate_sensitivity(tuned)
    # Rates 1e-4, 2e-4 and 6e-4: one pair, on two tasks.
    assert [(one.label, one.learning_rate, one.task) for one in found] == [
        ("adamw", 2e-4, "rotten_tomatoes"),
        ("adamw", 2e-4, "sotu_eras"),
    ]
    assert found[0].effects.summary().estimate < 0
    ended = [
        diverged(one) if one.options["learning_rate"] == 6e-4 and one.seed == 13 else one for one in tuned
    ]
    (first, _) = rate_sensitivity(ended)
    assert first.effects.values[13] == -math.inf
    assert first.effects.infinite == {13: "adamw diverged"}
    assert rate_sensitivity([replace(one, options={}) for one in tuned]) == []
