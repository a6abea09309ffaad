"""Scores that a rare class takes part in, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from spectral_opt.tasks import majority_baseline, score_classes


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    labels, predicted = generator.integers(4, size=(2, 60))
    scores = score_classes(predicted, labels)
    assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_the_most_frequent_class_has_a_high_accuracy_and_nothing_else():
    found = majority_baseline([0] * 95 + [1] * 5, ("ham", "spam"))
    assert (found.label, found.accuracy, found.balanced_accuracy) == ("ham", 0.95, 0.5)
    assert found.macro_f1 == pytest.approx(95 / (95 + 100))
    assert found.class_counts == {"ham": 95, "spam": 5}


def test_a_class_without_texts_that_is_predicted_warns_of_nothing():
    scores = score_classes([0, 0, 2, 1], [0, 0, 1, 1])
    assert scores.balanced_accuracy == 0.75
    assert scores.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_a_class_of_no_text_is_counted_and_takes_no_part():
    found = majority_baseline([1, 1], ("a", "b", "c"))
    assert found.class_counts == {"a": 0, "b": 2, "c": 0}
    assert (found.accuracy, found.balanced_accuracy, found.macro_f1) == (1.0, 1.0, 1.0)
