"""What a fine-tuned model is worth: its task, what it kept of its start, and how far it moved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded where they are used: stats takes a second
from jaxtyping import Bool, Float, Int
from torch import Tensor

FLIPS = 9999
# Signs at a time: all flips of 5,000 texts at once are 3 GB.
BATCH = 1_000_000


@dataclass(frozen=True)
class Retention:
    """How much of the pretrained geometry of sentences is left, on text of another task.

    `neighbours_kept` is the share of each text's 10 nearest neighbours (cosine) that are still among its 10
    nearest, `cosine` the mean cosine between each text's embedding before and after.
    """

    neighbours_kept: float
    cosine: float


def accuracy_interval(
    correct: Bool[np.ndarray, " texts"], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the accuracy of (texts,) right and wrong answers, and the ends of its Wilson interval [1]_.

    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA, 1927.

    >>> accuracy, low, high = accuracy_interval(np.array([True] * 8 + [False] * 2))
    >>> round(accuracy, 2), round(low, 2), round(high, 2)
    (0.8, 0.49, 0.94)
    """
    interval = scipy.stats.binomtest(int(correct.sum()), correct.size).proportion_ci(
        confidence, method="wilson"
    )
    return float(correct.mean()), float(interval.low), float(interval.high)


def paired_p_value(first: Bool[np.ndarray, " texts"], second: Bool[np.ndarray, " texts"]) -> float:
    """Return McNemar's exact two-sided p-value that two classifiers are equally often right [1]_.

    It is 1 where they never disagree.

    .. [1] Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
       Psychometrika, 1947.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_first, only_first + only_second).pvalue)


def sign_flip_p_value(differences: Float[np.ndarray, " texts"], seed: int) -> float:
    """Return the two-sided p-value of paired differences around 0, by random flips of their signs.

    >>> sign_flip_p_value(np.zeros(20), 0)
    1.0
    """
    found = scipy.stats.permutation_test(
        (differences,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        batch=1 + BATCH // len(differences),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def retention(
    before: Float[np.ndarray, "texts width"], after: Float[np.ndarray, "texts width"], neighbours: int = 10
) -> Retention:
    """Compare two embeddings, (texts, width), of the same texts: by the pretrained and by the tuned model.

    Both shares are 1 where nothing changed; by chance a text keeps neighbours / (texts - 1) of its
    neighbours. Not more texts than neighbours raise ValueError. Time O(texts^2 width), memory O(texts^2).

    >>> embeddings = np.random.default_rng(0).normal(size=(30, 4))
    >>> retention(embeddings, 2 * embeddings)
    Retention(neighbours_kept=1.0, cosine=1.0)
    """
    if len(before) <= neighbours:
        raise ValueError(
            f"retention needs more than {neighbours} texts to keep neighbours of, got {len(before)}"
        )
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosine = float(np.mean(np.einsum("ij,ij->i", before, after) / lengths))
    kept = float(neighbours_kept(before, after, neighbours).mean())
    return Retention(
        kept, round(cosine, 12)
    )  # the last bits of an embedding's own cosine are not information


def neighbours_kept(
    before: Float[np.ndarray, "texts width"], after: Float[np.ndarray, "texts width"], neighbours: int = 10
) -> Float[np.ndarray, " texts"]:
    """Return for each text the share of its nearest neighbours (cosine) that are among its nearest after, too."""
    pairs = zip(_neighbours(before, neighbours), _neighbours(after, neighbours), strict=True)
    return np.array([len(np.intersect1d(*pair)) / neighbours for pair in pairs])


def relative_drift(start: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Sequence[str]) -> float:
    r"""Return the relative distance that the parameters `names` moved.

    .. math:: \|\theta - \theta_0\| / \|\theta_0\|
    """
    moved = sum(float((state[name].double() - start[name].double()).square().sum()) for name in names)
    length = sum(float(start[name].double().square().sum()) for name in names)
    return math.sqrt(moved / length)


def _neighbours(embeddings: Float[np.ndarray, "texts width"], count: int) -> Int[np.ndarray, "texts count"]:
    from sklearn.neighbors import NearestNeighbors  # more than a second of imports

    search = NearestNeighbors(n_neighbors=count, metric="cosine").fit(embeddings)
    indices: Int[np.ndarray, "texts count"] = search.kneighbors(return_distance=False)
    return indices
