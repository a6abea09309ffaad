"""How a report tells of each kind of task: its scores, what is lost, and their axes."""

from collections.abc import Mapping
from dataclasses import dataclass

from spectral_opt.study import CAUSAL_LM, CLASSIFICATION, TaskKind
from spectral_opt.study.statistics import Measure, Score, compared_at, level_of, lost_measure


@dataclass(frozen=True)
class KindWords:
    """Words for a kind of task; `metrics` are columns of scores by name, of which the first has an interval."""

    score: Score
    score_name: str
    score_axis: str
    lost_axis: str
    lost_hint: str
    shots_of: str
    metrics: Mapping[str, str]
    beside: str  # "ratio", "difference"

    @property
    def difference(self) -> Measure:
        """The states themselves."""
        return Measure("score_difference", self.score)

    @property
    def lost(self) -> Measure:
        """What is lost at equal score."""
        return lost_measure(self.score, level_of(self.score))


WORDS: Mapping[TaskKind, KindWords] = {
    CLASSIFICATION: KindWords(
        compared_at(CLASSIFICATION),
        "AUC",
        "AUC of the task",
        "share of the 10 nearest neighbours that are lost",
        "share of the 10 nearest neighbours of held-out text that are lost",
        "a class",
        {"accuracy": "accuracy", "auc": "AUC"},
        "ratio",
    ),
    CAUSAL_LM: KindWords(
        compared_at(CAUSAL_LM),
        "log-likelihood",
        "log-likelihood of a token of the task, nats",
        "rise of a token's loss on other texts, nats",
        "rise of a token's loss in nats, mean over the held-out texts",
        "blocks",
        {"loss": "loss"},
        "difference",
    ),
}
