"""What a fine-tuned model is worth: its task, what it kept of its start, and how far it moved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats
from sklearn.neighbors import NearestNeighbors
from torch import Tensor


@dataclass(frozen=True)
class Retention:
    """How much of the pretrained geometry of sentences is left, on text of another task.

    Parameters
    ----------
    neighbours_kept : float
        Share of each text's 10 nearest neighbours (cosine) that are still among its 10 nearest.
    cosine : float
        Mean cosine between each text's embedding before and after.
    """

    neighbours_kept: float
    cosine: float


def accuracy_interval(
    correct: Bool[np.ndarray, " texts"], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the accuracy and its Wilson interval.

    Parameters
    ----------
    correct : bool array of shape (texts,)
        Which texts were classified rightly.
    confidence : float, default 0.95
        Level of the interval.

    Returns
    -------
    tuple of float
        Accuracy, lower end, upper end; shares of 1.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA, 1927.

    Examples
    --------
    >>> accuracy, low, high = accuracy_interval(np.array([True] * 8 + [False] * 2))
    >>> round(accuracy, 2), round(low, 2), round(high, 2)
    (0.8, 0.49, 0.94)
    """
    interval = stats.binomtest(int(correct.sum()), correct.size).proportion_ci(confidence, method="wilson")
    return float(correct.mean()), float(interval.low), float(interval.high)


def paired_p_value(first: Bool[np.ndarray, " texts"], second: Bool[np.ndarray, " texts"]) -> float:
    """Return McNemar's exact two-sided p-value that two classifiers are equally often right.

    Parameters
    ----------
    first, second : bool arrays of shape (texts,)
        Which texts each classifier got right, in the same order.

    Returns
    -------
    float
        1.0 where they never disagree.

    References
    ----------
    .. [1] Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
       Psychometrika, 1947.

    Examples
    --------
    >>> paired_p_value(np.array([True, True, False]), np.array([True, True, False]))
    1.0
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def retention(
    before: Float[np.ndarray, "texts width"], after: Float[np.ndarray, "texts width"], neighbours: int = 10
) -> Retention:
    """Compare two embeddings of the same texts.

    Parameters
    ----------
    before, after : float arrays of shape (texts, width)
        Embeddings by the pretrained and by the tuned model, in the same order.
    neighbours : int, default 10
        How many nearest neighbours are looked at.

    Returns
    -------
    Retention
        Both shares are 1 where nothing changed. Chance level of `neighbours_kept` is neighbours / (texts - 1).

    Raises
    ------
    ValueError
        If there are not more texts than neighbours.

    Notes
    -----
    Time O(texts^2 width), memory O(texts^2).

    Examples
    --------
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
    kept = np.mean(
        [
            len(np.intersect1d(*pair)) / neighbours
            for pair in zip(_neighbours(before, neighbours), _neighbours(after, neighbours), strict=True)
        ]
    )
    return Retention(
        float(kept), round(cosine, 12)
    )  # the last bits of an embedding's own cosine are not information


def relative_drift(start: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Sequence[str]) -> float:
    r"""Return the relative distance that the parameters `names` moved.

    .. math:: \|\theta - \theta_0\| / \|\theta_0\|

    Parameters
    ----------
    start, state : dict of tensors
        Parameters before and after.
    names : sequence of str
        The parameters that count.

    Returns
    -------
    float
        0 where nothing moved.

    Examples
    --------
    >>> import torch
    >>> relative_drift({"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([3.0, 5.0])}, ["w"])
    0.2
    """
    moved = sum(float((state[name].double() - start[name].double()).square().sum()) for name in names)
    length = sum(float(start[name].double().square().sum()) for name in names)
    return math.sqrt(moved / length)


def _neighbours(embeddings: Float[np.ndarray, "texts width"], count: int) -> Int[np.ndarray, "texts count"]:
    search = NearestNeighbors(n_neighbors=count, metric="cosine").fit(embeddings)
    indices: Int[np.ndarray, "texts count"] = search.kneighbors(return_distance=False)
    return indices
