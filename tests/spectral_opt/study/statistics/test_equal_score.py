from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from spectral_opt.study.statistics import least_lost, scaling_curve, whole_path
from tests.helpers.study_records import diverged, synthetic_plan, synthetic_records

LOST, SCORES = np.array([0.6, 0.2, 0.1]), np.array([0.9, 0.8, 0.6])


@pytest.mark.parametrize(
    ("wanted", "expected"), [(0.9, 0.6), (0.85, 0.4), (0.8, 0.2), (0.7, 0.15), (0.6, 0.1), (0.1, 0.1)]
)
def test_between_two_states_it_is_on_their_line(wanted, expected):
    assert least_lost(LOST, SCORES, wanted) == pytest.approx(expected)


def test_a_score_that_the_curve_never_has_is_no_number():
    assert np.isnan(least_lost(LOST, SCORES, 0.91))


def test_a_curve_that_comes_by_twice_counts_where_it_has_lost_least():
    # An overfitted run: half of its change is better than all of it.
    lost, scores = np.array([0.4, 0.2, 0.0]), np.array([0.7, 0.8, 0.6])
    assert least_lost(lost, scores, 0.7) == pytest.approx(0.1)


def test_two_states_of_one_score_divide_by_nothing():
    assert least_lost(np.array([0.4, 0.2, 0.0]), np.array([0.8, 0.8, 0.6]), 0.8) == pytest.approx(0.2)


def test_one_state_alone_is_a_curve():
    assert least_lost(np.array([0.3]), np.array([0.9]), 0.5) == 0.3


def test_axes_behind_the_states_are_curves_of_their_own():
    generator = np.random.default_rng(0)
    lost, scores, wanted = generator.random((5, 7)), generator.random((5, 7)), generator.random(7)
    together = least_lost(lost, scores, wanted)
    alone = [float(least_lost(lost[:, draw], scores[:, draw], wanted[draw])) for draw in range(7)]
    np.testing.assert_array_equal(together, alone)


@given(st.floats(0.1, 10), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_a_loss_in_other_units_is_the_same_loss(factor, lost):
    here = least_lost(np.array(lost), SCORES, 0.75)
    np.testing.assert_allclose(least_lost(factor * np.array(lost), SCORES, 0.75), factor * here)


def test_a_records_curve_ends_at_the_start_which_has_lost_nothing():
    records = synthetic_records(synthetic_plan(1))
    record = next(one for one in records.values() if one.part == "posthoc" and one.after == "product")
    lost, scores = scaling_curve(record, "auc")
    assert (len(lost), lost[-1]) == (len(record.metrics["points"]) + 1, 0.0)
    assert lost[0] == record.metrics["points"][0]["lost"]
    assert scores[-1] == record.metrics["start"]["auc"]
    with pytest.raises(ValueError, match="loss is nan"):
        scaling_curve(diverged(record), "auc")


def test_a_change_that_cannot_be_scaled_has_no_line_to_the_start():
    record = next(iter(synthetic_records(synthetic_plan(1)).values()))
    assert len(record.metrics["points"]) == 1
    lost, scores = scaling_curve(record, "auc")
    assert (lost, scores) == ([record.metrics["points"][0]["lost"]], [record.metrics["points"][0]["auc"]])


def test_the_way_of_a_filter_begins_at_the_fine_tune_that_it_filters():
    record = next(record for record in synthetic_records(synthetic_plan()).values() if record.after)
    tuned = {"lost": 0.75, "auc": 0.95}
    costs, scores = whole_path(replace(record, metrics=record.metrics | {"tuned": tuned}), "auc")
    assert (costs[0], scores[0]) == (0.75, 0.95)
    assert [costs[1:].tolist(), scores[1:].tolist()] == [
        part.tolist() for part in scaling_curve(record, "auc")
    ]
