import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats

from spectral_opt.study import accuracy_interval, paired_p_value, relative_drift, retention


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=(40, 6))


def test_unchanged_embeddings_are_kept_whole(embeddings):
    kept = retention(embeddings, embeddings)
    assert kept.neighbours_kept == 1.0
    assert kept.cosine == 1.0


def test_scale_and_rotation_lose_no_neighbours(embeddings):
    rotation = stats.ortho_group.rvs(6, random_state=0)
    assert retention(embeddings, 3 * embeddings @ rotation).neighbours_kept == 1.0


def test_unrelated_embeddings_keep_neighbours_at_chance(embeddings):
    other = np.random.default_rng(1).normal(size=(400, 6))
    kept = retention(np.random.default_rng(2).normal(size=(400, 6)), other)
    # Chance is 10 / 399 = 0.025, its standard error over 4,000 draws 0.0025; a text that counted as its own
    # neighbour would raise it to 0.12.
    assert kept.neighbours_kept == pytest.approx(10 / 399, abs=0.015)


def test_too_few_texts_are_refused(embeddings):
    with pytest.raises(ValueError, match="more than 10 texts"):
        retention(embeddings[:10], embeddings[:10])


def test_wilson_interval_agrees_with_scipy():
    correct = np.arange(100) < 70
    interval = stats.binomtest(70, 100).proportion_ci(method="wilson")
    assert accuracy_interval(correct) == (0.7, interval.low, interval.high)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_the_paired_test_is_symmetric(pairs):
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    assert paired_p_value(first, second) == paired_p_value(second, first)


def test_a_clear_winner_has_a_small_p_value():
    first = np.ones(40, dtype=bool)
    second = np.arange(40) >= 10
    # Ten disagreements, all one way: 2 * 0.5^10.
    assert paired_p_value(first, second) == pytest.approx(2 * 0.5**10)


def test_drift_is_the_relative_distance_of_the_named_parameters():
    start = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2)}
    end = {"a": torch.tensor([3.0, 4.0]) * 1.1, "b": torch.ones(2)}
    # 1.1 is not a float32: the distance is right to float32's seven digits.
    assert relative_drift(start, end, ["a"]) == pytest.approx(0.1, rel=1e-6)
