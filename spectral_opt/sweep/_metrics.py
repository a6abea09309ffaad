"""How a task is measured: each metric once, as a mean over texts or as a statistic of all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from spectral_opt.tasks import ClassScores, score_classes

# What a model computes.
Kind = Literal["causal", "classifier", "encoder"]
Values = Float[np.ndarray, " texts"]
# How often each text is drawn; a row of ones is the texts as they are.
Weights = Float[np.ndarray, "draws texts"]
Draws = Float[np.ndarray, " draws"]
RESAMPLES = 2000


@dataclass(frozen=True)
class TaskResult:
    """What a state made of some texts.

    Per text the loss in nats: of the true class, or per token, of `tokens` predicted ones. `probabilities` of the
    classes and the true `labels` where there are classes.
    """

    losses: Values
    tokens: Values | None = None
    probabilities: Float[np.ndarray, "texts classes"] | None = None
    labels: Int[np.ndarray, " texts"] | None = None

    @cached_property
    def predicted(self) -> Int[np.ndarray, " texts"]:
        """The most probable class of each text."""
        assert self.probabilities is not None, "a metric of classes"
        found: Int[np.ndarray, " texts"] = self.probabilities.argmax(axis=1)
        return found

    @property
    def scores(self) -> ClassScores | None:
        """Scores in which classes count alike; None where there are no classes."""
        return None if self.labels is None else score_classes(self.predicted, self.labels)

    @property
    def right(self) -> Values:
        """1 for each text whose class was found, else 0."""
        found: Values = (self.predicted == self.labels).astype(np.float64)
        return found


@dataclass(frozen=True)
class Metric:
    """A score of a task: `shown` of the mean of `per_text`, or, where texts have no score of their own, `statistic`.

    `label` is its name in tables, `kinds` the models that have it; `is_share`: texts are right or wrong; `size`: what a
    text counts in the mean, 1 in all on average.
    """

    name: str
    label: str
    kinds: frozenset[Kind]
    higher_is_better: bool = True
    per_text: Callable[[TaskResult], Values] | None = None
    statistic: Callable[[TaskResult, Weights], Draws] | None = None
    shown: Callable[[Draws], Draws] = lambda mean: mean
    size: Callable[[TaskResult], Values] | None = None
    is_share: bool = False
    of_probe: bool = False

    @property
    def sign(self) -> int:
        """1 where more is better, else -1: a gain is positive."""
        return 1 if self.higher_is_better else -1

    def draws(self, result: TaskResult, weights: Weights) -> Draws:
        """Score weighted texts, one score a row; of a mean before `shown`, so that scores of states can be mixed."""
        if self.per_text is not None:
            # Long texts that are drawn often are more in the sum and in what it is divided by.
            counted = weights.sum(axis=1) if self.size is None else weights @ self.size(result)
            mean: Draws = weights @ self.per_text(result) / counted
            return mean
        assert self.statistic is not None, "a metric has one of the two"
        return self.statistic(result, weights)

    def raw(self, result: TaskResult) -> float:
        """Score the texts as they are, before `shown`."""
        return float(self.draws(result, np.ones((1, len(result.losses))))[0])

    def score(self, result: TaskResult) -> float:
        """Score the texts as they are."""
        return float(self.shown(np.array([self.raw(result)]))[0])

    def interval(self, result: TaskResult, seed: int) -> tuple[float, float, float]:
        """Give the score and its 95 % interval over texts: Wilson's of a share, else of the bootstrap."""
        from spectral_opt.study import accuracy_interval

        if self.is_share and self.per_text is not None:
            return accuracy_interval(self.per_text(result).astype(bool))
        low, high = np.percentile(self.shown(self.draws(result, self.resampled(result, seed))), [2.5, 97.5])
        return self.score(result), float(low), float(high)

    def resampled(self, result: TaskResult, seed: int) -> Weights:
        """Draw texts with replacement, RESAMPLES times; where classes are counted apart, each class by itself."""
        labels = None if self.per_text is not None else result.labels
        return resampled(len(result.losses), seed, labels)

    def excess(self, worse: TaskResult, better: TaskResult, seed: int) -> tuple[float, float]:
        """Give by how much the first is worse, with the standard error of this paired difference."""
        if self.per_text is not None:
            differences = self.sign * (self.per_text(better) - self.per_text(worse))
            return float(differences.mean()), float(differences.std(ddof=1)) / len(differences) ** 0.5
        weights = self.resampled(better, seed)
        drawn = self.draws(better, weights) - self.draws(worse, weights)
        difference = self.sign * (self.raw(better) - self.raw(worse))
        return difference, float(drawn.std(ddof=1))


def resampled(texts: int, seed: int, labels: Int[np.ndarray, " texts"] | None = None) -> Weights:
    """Count how often each text is in each of RESAMPLES draws with replacement, within each class where classes are."""
    return _resampled(texts, seed, None if labels is None else tuple(labels.tolist()))


@lru_cache(maxsize=4)  # every state and strength is drawn alike
def _resampled(texts: int, seed: int, classes: tuple[int, ...] | None) -> Weights:
    generator = np.random.default_rng(seed)
    groups = [np.arange(texts)]
    if classes is not None:
        labels = np.array(classes)
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    weights = np.zeros((RESAMPLES, texts))
    for group in groups:
        weights[:, group] = generator.multinomial(len(group), np.full(len(group), 1 / len(group)), RESAMPLES)
    weights.setflags(write=False)
    return weights


def _recalls(result: TaskResult, weights: Weights) -> Draws:
    assert result.labels is not None, "a metric of classes"
    recalls = [
        (weights[:, of_class] @ result.right[of_class]) / weights[:, of_class].sum(axis=1)
        for of_class in (result.labels == label for label in np.unique(result.labels))
    ]
    mean: Draws = np.mean(recalls, axis=0)
    return mean


def _macro_f1(result: TaskResult, weights: Weights) -> Draws:
    """Average 2 true / (true + predicted) over the classes that occur or are predicted in all texts."""
    assert result.labels is not None, "a metric of classes"
    scores = []
    for label in np.union1d(result.labels, result.predicted):
        predicted, true = result.predicted == label, result.labels == label
        count = weights @ (predicted * 1.0) + weights @ (true * 1.0)
        both = 2 * (weights @ (predicted & true))
        # A class whose texts were not drawn, and that was not predicted, is not wrong.
        scores.append(np.divide(both, count, out=np.zeros_like(count), where=count > 0))
    mean: Draws = np.mean(scores, axis=0)
    return mean


def _auc(result: TaskResult, weights: Weights) -> Draws:
    """Average over the classes that occur P(score of the class > score of another) + P(equal) / 2.

    All draws at once: scikit-learn's takes one vector of weights, 3 s for 2,000 draws of 400 texts and one class.
    """
    assert result.labels is not None, "a metric of classes"
    assert result.probabilities is not None, "a metric of classes"
    areas = []
    for label in np.unique(result.labels):
        _, place = np.unique(result.probabilities[:, label], return_inverse=True)
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(place[order]) > 0])
        true = (result.labels == label)[order]
        of_class = np.add.reduceat(weights[:, order] * true, starts, axis=1)
        others = np.add.reduceat(weights[:, order] * ~true, starts, axis=1)
        below = np.cumsum(others, axis=1) - others / 2
        pairs = of_class.sum(axis=1) * others.sum(axis=1)
        areas.append(
            np.divide((of_class * below).sum(axis=1), pairs, out=np.full(len(pairs), 0.5), where=pairs > 0)
        )
    mean: Draws = np.mean(areas, axis=0)
    return mean


def _token_shares(result: TaskResult) -> Values:
    assert result.tokens is not None, "a metric of language models"
    shares: Values = result.tokens / result.tokens.mean()
    return shares


def _token_losses(result: TaskResult) -> Values:
    """Weigh the mean loss of each text by its tokens: the mean over texts is that over tokens."""
    weighed: Values = result.losses * _token_shares(result)
    return weighed


ENCODERS: frozenset[Kind] = frozenset({"classifier", "encoder"})
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                "accuracy",
                "accuracy",
                frozenset({"classifier"}),
                per_text=lambda result: result.right,
                is_share=True,
            ),
            Metric(
                "probe",
                "probe accuracy",
                ENCODERS,
                per_text=lambda result: result.right,
                is_share=True,
                of_probe=True,
            ),
            Metric("balanced_accuracy", "balanced accuracy", ENCODERS, statistic=_recalls),
            Metric("macro_f1", "macro F1", ENCODERS, statistic=_macro_f1),
            Metric("auc", "AUC", ENCODERS, statistic=_auc),
            Metric(
                "loss",
                "loss, nats",
                ENCODERS | {"causal"},
                higher_is_better=False,
                per_text=lambda result: result.losses,
            ),
            Metric(
                "perplexity",
                "perplexity",
                frozenset({"causal"}),
                higher_is_better=False,
                per_text=_token_losses,
                size=_token_shares,
                shown=np.exp,
            ),
        )
    }
)
# What "auto" stands for.
METRIC_OF: Mapping[Kind, str] = MappingProxyType(
    {"causal": "perplexity", "classifier": "accuracy", "encoder": "probe"}
)
