"""Filter against scaling where both forget as much: invented states whose answer is known."""

import tracemalloc

import numpy as np
import pytest

from spectral_opt.sweep import (
    METRICS,
    Forgotten,
    SweepPoint,
    TaskResult,
    compare_at_equal_forgetting,
    compare_at_equal_score,
)

ACCURACY, LOSS = METRICS["accuracy"], METRICS["loss"]


def answers(right, texts):
    """Two classes in turn, of which the first texts are right; the loss of a text is 1 where it is right."""
    labels, found = np.arange(texts) % 2, np.arange(texts) < round(right * texts)
    return TaskResult(found * 1.0, np.ones(texts), np.eye(2)[np.where(found, labels, 1 - labels)], labels)


def point(family, strength, forgotten, right, texts=400):
    lost = np.full(20, float(forgotten))
    return SweepPoint(family, strength, 1.0, Forgotten(lost, lost), None, answers(right, texts), 0.0)


FRONT = [point("base", 0.0, 0.0, 0.5), point("tuned", 1.0, 0.4, 0.8), point("scaling", 0.5, 0.2, 0.6)]


def compare(*filters, metric=ACCURACY):
    return compare_at_equal_forgetting([*FRONT, *filters], metric, 0)["by_strength"]


def test_scaling_is_interpolated_between_its_neighbours_on_the_front():
    first, second = compare(point("filter", 0.1, 0.3, 0.75), point("filter", 0.3, 0.1, 0.55))
    assert first["scaling"] == pytest.approx(0.7)
    assert first["gain"] == pytest.approx(0.05)
    assert second["scaling"] == pytest.approx(0.55)
    assert second["gain"] == pytest.approx(0, abs=1e-12)


def test_a_filter_that_is_a_state_of_scaling_gains_nothing():
    rows = compare(*(point("filter", s, 0.4 * s, right) for s, right in ((0.0, 0.5), (0.5, 0.6), (1.0, 0.8))))
    assert [row["gain"] for row in rows] == pytest.approx([0, 0, 0], abs=1e-12)
    assert [row["p_holm"] for row in rows] == [1.0, 1.0, 1.0]


def test_a_clear_gain_has_a_small_p_value_corrected_for_the_strengths():
    (alone,) = compare(point("filter", 0.1, 0.2, 0.7))
    assert alone["gain_low"] > 0
    assert alone["p_holm"] == alone["p_value"] < 0.01
    rows = compare(point("filter", 0.1, 0.2, 0.7), point("filter", 0.3, 0.1, 0.6))
    assert rows[0]["p_holm"] == pytest.approx(2 * rows[0]["p_value"])


def test_less_loss_is_a_gain():
    (row,) = compare(point("filter", 0.1, 0.2, 0.5), metric=LOSS)
    assert row["gain"] == pytest.approx(0.1)


@pytest.mark.parametrize("forgotten", [0.41, -0.01])
def test_what_forgets_more_or_less_than_all_of_scaling_is_not_compared(forgotten):
    (row,) = compare(point("filter", 0.1, forgotten, 0.9))
    assert (row["scaling"], row["gain"], row["p_holm"]) == (None, None, None)
    assert row["filter"] == pytest.approx(0.9)


def test_where_scaling_comes_by_twice_the_state_that_is_nearer_to_the_fine_tune_is_beside():
    # A language model that gets better than its base at the text, and is the base in the end.
    folded = [point("base", 0.0, 0.0, 0.5), point("tuned", 1.0, 0.1, 0.8), point("scaling", 0.5, -0.2, 0.6)]
    (row,) = compare_at_equal_forgetting([*folded, point("filter", 0.1, -0.05, 0.7)], ACCURACY, 0)[
        "by_strength"
    ]
    assert row["scaling"] == pytest.approx(0.7)


def test_two_factors_that_forget_alike_divide_by_nothing():
    rows = compare(point("scaling", 0.4, 0.2, 0.6), point("filter", 0.1, 0.2, 0.7))
    assert rows[0]["gain"] == pytest.approx(0.1)
    flat = [point("base", 0.0, 0.0, 0.5), point("tuned", 1.0, 0.0, 0.8), point("filter", 0.1, 0.0, 0.6)]
    assert compare_at_equal_forgetting(flat, ACCURACY, 0)["mean"] is not None


def test_without_test_texts_nothing_is_compared():
    states = [
        SweepPoint(one.family, one.strength, 1.0, one.forgotten, None, None, 0.0)
        for one in (*FRONT, point("filter", 0.1, 0.2, 0.7))
    ]
    assert compare_at_equal_forgetting(states, ACCURACY, 0) == {"by_strength": [], "mean": None}


def test_the_mean_over_strengths_is_one_test_of_all_texts():
    filters = [point("filter", 0.1, 0.2, 0.7), point("filter", 0.3, 0.1, 0.6)]
    found = compare_at_equal_forgetting([*FRONT, *filters], ACCURACY, 0)
    assert found["mean"]["gain"] == pytest.approx(np.mean([row["gain"] for row in found["by_strength"]]))
    outside = compare_at_equal_forgetting([*FRONT, point("filter", 0.1, 0.5, 0.7)], ACCURACY, 0)
    assert outside["mean"] is None


def test_many_texts_are_tested_without_all_their_flips_in_memory():
    texts = 1500
    tracemalloc.start()
    (row,) = compare_at_equal_forgetting(
        [
            point("base", 0.0, 0.0, 0.5, texts),
            point("tuned", 1.0, 0.4, 0.5, texts),
            point("filter", 1.0, 0.2, 0.5, texts),
        ],
        ACCURACY,
        0,
    )["by_strength"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row["p_value"] == 1.0
    assert peak < 2**28


def at_equal_score(*filters, metric=ACCURACY):
    return compare_at_equal_score([*FRONT, *filters], metric, 0)


def test_scaling_at_the_filters_score_is_where_its_line_reaches_it_first():
    # Scaling: .5 at 0, .6 at .2, .8 at .4.
    (row,) = at_equal_score(point("filter", 0.1, 0.1, 0.7))
    assert row["scaling"] == pytest.approx(0.3)
    assert row["less"] == pytest.approx(0.2)
    assert row["ratio"] == pytest.approx(1 / 3)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]


def test_a_filter_that_is_worse_than_the_base_saves_nothing_and_one_above_every_factor_has_nothing_beside():
    worse, better = at_equal_score(point("filter", 3.0, 0.1, 0.4), point("filter", 0.1, 0.1, 0.9))
    assert (worse["scaling"], worse["less"], worse["ratio"]) == (0.0, pytest.approx(-0.1), None)
    assert (better["scaling"], better["less"], better["ratio"]) == (None, None, None)
    assert better["reached"] < 0.05


def test_a_rival_is_compared_on_its_own_front():
    points = [*FRONT, point("permuted", 10.0, 0.2, 0.65), point("filter", 0.1, 0.2, 0.7)]
    (row,) = compare_at_equal_forgetting(points, ACCURACY, 0, "permuted")["by_strength"]
    assert row["permuted"] == pytest.approx(0.65)
    assert (row["matched_strength"], row["matched"]) == (10.0, pytest.approx(0.65))
    # Of 400 texts the 20 that the filter alone gets right: two-sided 2 / 2^20.
    assert row["mcnemar_p_value"] == pytest.approx(2 * 0.5**20)


@pytest.mark.parametrize("name", ["auc", "balanced_accuracy", "macro_f1"])
def test_what_is_no_mean_over_texts_is_compared_by_the_bootstrap(name):
    metric = METRICS[name]
    alike, better = compare(point("filter", 0.1, 0.2, 0.6), point("filter", 0.2, 0.2, 0.75), metric=metric)
    assert alike["gain"] == pytest.approx(0, abs=1e-12)
    assert alike["p_holm"] == 1.0
    assert better["gain_low"] > 0
    assert better["p_value"] < 0.01
    assert "mcnemar_p_value" not in better
