"""Metrics of a task beside scikit-learn's, as they are and on drawn texts."""

import numpy as np
import pytest
from sklearn import metrics as peer

from spectral_opt.sweep import METRICS, TaskResult


def answers(classes, texts=60, seed=0, steps=5):
    """Probabilities on a coarse grid, so that many are equal."""
    generator = np.random.default_rng(seed)
    probabilities = generator.integers(1, steps, size=(texts, classes)).astype(float)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = np.r_[np.arange(classes), generator.integers(classes, size=texts - classes)]
    losses = -np.log(probabilities[np.arange(texts), labels])
    return TaskResult(losses, None, probabilities, labels)


def of_peer(name, result, weights):
    rows = np.repeat(np.arange(len(weights)), weights.astype(int))
    labels, probabilities = result.labels[rows], result.probabilities[rows]
    predicted = probabilities.argmax(axis=1)
    if name == "auc":
        several = {"multi_class": "ovr", "average": "macro"} if probabilities.shape[1] > 2 else {}
        return peer.roc_auc_score(labels, probabilities if several else probabilities[:, 1], **several)
    return {
        "accuracy": lambda: peer.accuracy_score(labels, predicted),
        "probe": lambda: peer.accuracy_score(labels, predicted),
        "balanced_accuracy": lambda: peer.balanced_accuracy_score(labels, predicted),
        "macro_f1": lambda: peer.f1_score(labels, predicted, average="macro"),
        "loss": lambda: result.losses[rows].mean(),
    }[name]()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"perplexity"}))
def test_a_metric_is_that_of_scikit_learn_on_every_draw(name, classes):
    metric, result = METRICS[name], answers(classes)
    drawn = metric.resampled(result, 0)[:5]
    assert metric.score(result) == pytest.approx(of_peer(name, result, np.ones(60)))
    for weights, found in zip(drawn, metric.draws(result, drawn), strict=True):
        assert found == pytest.approx(of_peer(name, result, weights))


def test_perplexity_is_of_all_tokens():
    result = TaskResult(np.array([1.0, 2.0]), np.array([30.0, 10.0]))
    assert METRICS["perplexity"].score(result) == pytest.approx(np.exp(50 / 40))
    mean, low, high = METRICS["perplexity"].interval(result, 0)
    assert low < mean < high


def test_the_interval_of_perplexity_is_not_that_of_the_lengths_of_texts():
    metric = METRICS["perplexity"]
    tokens = np.arange(2.0, 64.0)
    alike = TaskResult(np.full(62, 3.0), tokens)
    assert metric.interval(alike, 0) == pytest.approx((np.exp(3.0),) * 3)
    losses = np.random.default_rng(0).normal(3.0, 1.0, 62)
    weights = metric.resampled(alike, 0)[:5]
    expected = [np.average(losses, weights=row * tokens) for row in weights]
    np.testing.assert_allclose(metric.draws(TaskResult(losses, tokens), weights), expected)


@pytest.mark.parametrize("name", ["auc", "macro_f1", "balanced_accuracy"])
def test_classes_are_drawn_apart_so_that_a_rare_one_is_never_missing(name):
    result = answers(2)
    rare = TaskResult(result.losses, None, result.probabilities, np.r_[1, 1, np.zeros(58, dtype=int)])
    weights = METRICS[name].resampled(rare, 0)
    assert (weights[:, :2].sum(axis=1) == 2).all()
    assert np.isfinite(METRICS[name].draws(rare, weights)).all()


@pytest.mark.parametrize("name", ["accuracy", "auc"])
def test_the_excess_of_a_state_over_itself_is_nothing(name):
    result = answers(3)
    assert METRICS[name].excess(result, result, 0) == (0.0, 0.0)
