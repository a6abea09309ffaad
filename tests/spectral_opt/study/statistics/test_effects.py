import math
from dataclasses import replace

import numpy as np
import pytest

from spectral_opt.study import CellRecord
from spectral_opt.study.statistics import Measure, answers_of, pooled_effects, seed_effects
from tests.helpers.study_records import diverged, synthetic_plan, synthetic_records

START = {"factor": 0.0, "lost": 0.0, "drift": 0.0, "auc": 0.6, "accuracy": 0.5, "correct": "f0"}


def record(points, seed=0, method="adamw", losses=None, **seconds):
    """A record of (lost, AUC) at factors 1 and 1/2; drift is a tenth of what was lost, accuracy .1 less than AUC."""
    states = [
        {"factor": factor, "lost": lost, "drift": lost / 10, "auc": auc, "accuracy": auc - 0.1}
        for factor, (lost, auc) in zip((1.0, 0.5), points, strict=False)
    ]
    metrics = {"points": states, "start": START}
    if losses is not None:
        steps = [10 * place for place in range(len(losses))]
        metrics["curve"] = {
            "dev_loss": losses,
            "dev_step": steps,
            "dev_cpu_seconds": [0.5 * s for s in steps],
        }
    return CellRecord(
        method, "reviews", seed, "confirmation", "full", 500, {}, None, {}, "finished", "", {}, metrics, 1.0,
        seconds, 1,
    )  # fmt: skip


ADAMW = record([(0.4, 0.8), (0.2, 0.75)])


def effect(measure, own, rival=ADAMW, reference=ADAMW):
    return seed_effects(measure, {0: own}, {0: rival}, {0: reference})


def test_each_curve_is_met_at_the_references_own_score_and_level():
    # At .78 AdamW has lost .2 + .2 x 3/5, the other .1 + .1 x 8/10.
    found = effect(Measure("lost_ratio", "auc", -0.02), record([(0.2, 0.8), (0.1, 0.7)]))
    assert math.exp(found.values[0]) == pytest.approx(0.18 / 0.32)
    drifted = effect(Measure("perturbation_ratio", "auc", -0.02), record([(0.2, 0.8), (0.1, 0.7)]))
    assert drifted.values == pytest.approx(found.values)


def test_a_state_is_held_against_scaling_at_its_own_score_and_two_states_by_both_ratios():
    measure = Measure("scaling_ratio", "auc")
    # AdamW has lost .2 - .2 x 1/3 at .7, between its half and the start, and .04 / .15 of .2 at .64.
    own, other = record([(0.1, 0.7), (0.05, 0.65)]), record([(0.1, 0.64), (0.01, 0.61)], method="other")
    beside = effect(measure, own).values[0]
    assert math.exp(beside) == pytest.approx(0.1 / (0.2 * 2 / 3))
    assert math.exp(effect(measure, own, other).values[0]) == pytest.approx(
        math.exp(beside) / (0.1 / (0.2 * 0.04 / 0.15))
    )
    # Any strength on the way there would be another comparison: the states behind the first have no say.
    assert effect(measure, record([(0.1, 0.7), (0.3, 0.2)])).values[0] == beside


def test_a_state_that_scaling_never_equals_is_infinitely_better_and_one_that_is_none_infinitely_worse():
    measure = Measure("scaling_ratio", "auc")
    better, worse = record([(0.1, 0.9)], method="better"), record([(0.1, 0.55)], method="worse")
    assert effect(measure, better).values == {0: -math.inf}
    assert effect(measure, better).infinite == {0: "adamw never has the score"}
    assert effect(measure, worse).values == {0: math.inf}
    assert effect(measure, better, worse).values == {0: -math.inf}
    assert effect(measure, better, better).values == {}


def test_what_never_has_the_score_is_infinitely_worse_and_told():
    weak, measure = record([(0.1, 0.7), (0.05, 0.65)], method="weak"), Measure("lost_ratio", "auc", -0.02)
    found = effect(measure, weak)
    assert (found.values, found.infinite) == ({0: math.inf}, {0: "weak never has the score"})
    other_way = effect(measure, record([(0.2, 0.8), (0.1, 0.7)]), weak)
    assert (other_way.values, other_way.infinite) == ({0: -math.inf}, {0: "weak never has the score"})
    neither = effect(measure, weak, replace(weak, method="faint"))
    assert (neither.values, neither.left_out) == ({}, {0: "neither weak nor faint ever has the score"})
    assert neither.summary() is None
    assert neither.p_value(0.0, "below") == 1.0


def test_a_score_that_the_start_has_already_compares_nothing():
    found = effect(Measure("lost_ratio", "auc", -0.3), record([(0.2, 0.8)]))
    assert found.left_out == {0: "the start has the score already"}


def test_a_difference_is_of_the_states_themselves_or_from_the_rivals_best_factor():
    own, overfitted = record([(0.2, 0.8), (0.1, 0.7)]), record([(0.4, 0.75), (0.2, 0.82)])
    assert effect(Measure("score_difference", "auc"), own, overfitted).values[0] == pytest.approx(0.05)
    assert effect(Measure("best_scaling_difference", "auc"), own, overfitted).values[0] == pytest.approx(
        -0.02
    )


def test_steps_and_seconds_are_counted_to_the_references_best_smoothed_loss():
    adamw = record(
        [(0.4, 0.8)], losses=[0.9, 0.6, 0.6, 0.3, 0.9], preparing=0.0
    )  # smoothed: best is .5, at step 30
    fast = record([(0.4, 0.8)], losses=[0.9, 0.4, 0.2, 0.2, 0.2], preparing=5.0)  # .9, .65, .5
    assert math.exp(effect(Measure("steps_ratio"), fast, adamw, adamw).values[0]) == pytest.approx(20 / 30)
    to_target = effect(Measure("time_ratio", until="target"), fast, adamw, adamw)
    assert math.exp(to_target.values[0]) == pytest.approx((5 + 10) / 15)
    slow = record([(0.4, 0.8)], losses=[0.9, 0.8, 0.7, 0.7, 0.7], method="slow")
    assert effect(Measure("steps_ratio"), slow, adamw, adamw).infinite == {0: "slow never has the loss"}
    unseen = effect(Measure("steps_ratio"), record([(0.4, 0.8)], method="probe"), adamw, adamw)
    assert unseen.left_out == {0: "probe has no loss on development texts over its steps"}


def test_seconds_until_the_end_are_of_the_parts_that_are_named():
    own = record([(0.2, 0.8)], preparing=3.0, filter=1.0, measuring=100.0)
    rival = record([(0.2, 0.8)], preparing=0.0, training=20.0, measuring=5.0)
    assert math.exp(effect(Measure("time_ratio"), own, rival).values[0]) == pytest.approx(4 / 20)
    only = effect(Measure("time_ratio", seconds=("measuring",)), own, rival)
    assert math.exp(only.values[0]) == pytest.approx(100 / 5)


@pytest.mark.parametrize(("kind", "worse"), [("lost_ratio", math.inf), ("score_difference", -math.inf)])
def test_a_run_that_diverged_is_infinitely_worse(kind, worse):
    own, measure = replace(diverged(ADAMW), method="own"), Measure(kind, "auc")
    assert effect(measure, own).values == {0: worse}
    assert effect(measure, own).infinite == {0: "own diverged"}
    assert effect(measure, ADAMW, own).values == {0: -worse}
    assert effect(measure, own, own).left_out == {0: "both diverged"}


def test_without_a_reference_there_is_nothing_to_be_reached():
    found = effect(Measure("lost_ratio", "auc"), ADAMW, ADAMW, diverged(ADAMW))
    assert found.left_out == {0: "adamw diverged, so there is nothing to be reached"}


@pytest.mark.parametrize("kind", ["score_difference", "best_scaling_difference"])
def test_two_states_are_compared_whatever_became_of_the_reference(kind):
    own, measure = record([(0.2, 0.9), (0.1, 0.7)], method="own"), Measure(kind, "auc")
    found = effect(measure, own, reference=diverged(ADAMW))
    assert found.values == pytest.approx({0: 0.1})
    assert not found.left_out


def test_only_seeds_of_all_three_are_compared():
    own = {seed: record([(0.2, 0.8)], seed) for seed in (1, 2, 3)}
    found = seed_effects(Measure("score_difference", "auc"), own, {2: ADAMW, 3: ADAMW}, {3: ADAMW})
    assert list(found.values) == [3]


def test_tasks_are_pooled_seed_by_seed():
    measure = Measure("lost_ratio", "auc")
    first = seed_effects(
        measure, *(2 * [{s: record([(0.1 * s, 0.8)]) for s in (1, 2, 3)}]), dict.fromkeys((1, 2), ADAMW)
    )
    second = replace(first, values={1: 0.4, 2: -math.inf}, infinite={2: "weak never has the score"})
    pooled = pooled_effects([first, second])
    assert pooled.values == {1: pytest.approx(0.2), 2: -math.inf}
    assert pooled.infinite == second.infinite
    torn = pooled_effects([replace(first, values={1: math.inf}), replace(first, values={1: -math.inf})])
    assert (torn.values, len(torn.left_out)) == ({}, 1)
    less = pooled_effects([first, replace(first, values={1: 0.4}, left_out={2: "both diverged"})])
    assert less.left_out == {2: "both diverged"}


@pytest.mark.parametrize("texts", [1, 7, 8, 9, 300])
def test_answers_are_unpacked_to_as_many_texts_as_there_were(texts):
    answers = np.random.default_rng(texts).random(texts) < 0.6
    answers[0] = True
    state = {
        "factor": 1.0,
        "accuracy": float(answers.mean()),
        "correct": np.packbits(answers).tobytes().hex(),
    }
    own = replace(ADAMW, metrics={"points": [state], "start": START})
    np.testing.assert_array_equal(answers_of(own), answers)
    broken = replace(own, metrics={"points": [{**state, "accuracy": 0.01}], "start": START})
    with pytest.raises(ValueError, match="do not make an accuracy"):
        answers_of(broken)


def test_a_difference_in_accuracy_has_an_interval_over_texts_too():
    records = [one for one in synthetic_records(synthetic_plan(6)).values() if one.part == "fewshot"]
    sides = [
        {one.seed: one for one in records if one.method == name and one.task == "rotten_tomatoes"}
        for name in ("adamw", "linear_probe", "adamw")
    ]
    found = seed_effects(Measure("score_difference"), *sides)
    low, high = found.items
    assert low < found.summary().estimate < high


@pytest.mark.parametrize(
    ("kind", "name"), [("lost_ratio", "lost"), ("lost_ratio", "auc"), ("score_difference", "auc")]
)
def test_a_record_that_does_not_tell_what_is_compared_is_left_out_with_the_reason(kind, name):
    points = [
        {key: value for key, value in point.items() if key != name} for point in ADAMW.metrics["points"]
    ]
    other = replace(ADAMW, method="other", metrics={**ADAMW.metrics, "points": points})
    found = effect(Measure(kind, "auc"), other)
    assert (found.values, found.left_out) == ({}, {0: f"other has no {name}"})
    unknown = replace(ADAMW, method="other", metrics={**ADAMW.metrics, "start": {}})
    told = effect(Measure("lost_ratio", "auc"), unknown).left_out
    assert told == {0: "other has no auc of its start"}


def test_no_right_answer_is_paired_with_some():
    states = [
        [{"factor": 1.0, "accuracy": share, "correct": bits}]
        for share, bits in ((0.0, "0000"), (0.5, "aa80"))
    ]
    none, half = (replace(ADAMW, metrics={"points": points, "start": START}) for points in states)
    found = effect(Measure("score_difference"), none, half, half)
    assert found.values == {0: -0.5}
    assert -1 < found.items[0] < -0.5 < found.items[1] < 0


def test_a_difference_without_the_answers_has_no_interval_over_texts():
    found = effect(Measure("score_difference"), ADAMW)
    assert (found.values, found.items) == ({0: 0.0}, None)


def test_the_way_of_a_filter_begins_at_the_fine_tune_that_it_filters():
    # Too strong for .78: on the line from the fine-tune, (.4, .8), to its own state, (.1, .7), it has lost .34.
    filtered = replace(
        record([(0.1, 0.7), (0.05, 0.65)]), after="product", metrics={
            **record([(0.1, 0.7), (0.05, 0.65)]).metrics, "tuned": ADAMW.metrics["points"][0],
        },
    )  # fmt: skip
    found = effect(Measure("lost_ratio", "auc", -0.02), filtered)
    assert math.exp(found.values[0]) == pytest.approx(0.34 / 0.32)
    assert effect(Measure("score_difference", "auc"), filtered).values[0] == pytest.approx(-0.1)
