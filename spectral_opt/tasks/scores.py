"""What an accuracy stands beside: the most frequent class, and scores in which every class counts alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class ClassScores:
    """Scores in which a rare class counts as much as a frequent one; both are shares of 1.

    `balanced_accuracy` is the mean over the classes that occur of the share of their texts that are found, `macro_f1`
    the mean over the classes that occur or are predicted of F1, 0 for one that is never right.
    """

    balanced_accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class MajorityBaseline:
    """What always answering the most frequent class of the scored texts reaches, and how many texts each class has."""

    label: str
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    class_counts: dict[str, int]


def score_classes(
    predicted: Sequence[int] | Int[np.ndarray, " texts"], labels: Sequence[int] | Int[np.ndarray, " texts"]
) -> ClassScores:
    """Score predicted classes beside the true ones.

    >>> score_classes([0, 0, 0, 0], [0, 0, 0, 1])
    ClassScores(balanced_accuracy=0.5, macro_f1=0.42857142857142855)
    """
    from sklearn.metrics import f1_score, recall_score

    # The balanced accuracy of scikit-learn, which warns where a class is predicted that does not occur.
    balanced = recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    return ClassScores(float(balanced), float(f1_score(labels, predicted, average="macro", zero_division=0)))


def majority_baseline(
    labels: Sequence[int] | Int[np.ndarray, " texts"], label_names: Sequence[str]
) -> MajorityBaseline:
    """Score the answer that is right most often without looking at a text; of equally frequent classes the first.

    >>> majority_baseline([0, 1, 1, 1], ["no", "yes"]).accuracy
    0.75
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(label_names))
    most = int(counts.argmax())
    scores = score_classes(np.full(len(labels), most), labels)
    return MajorityBaseline(
        label_names[most],
        float(counts[most] / counts.sum()),
        scores.balanced_accuracy,
        scores.macro_f1,
        {name: int(count) for name, count in zip(label_names, counts, strict=True)},
    )
