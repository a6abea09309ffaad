"""One task, number of shots and seed, made real: model, texts, splits; the same for every method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from spectral_opt.study.plan import StudyTask
from spectral_opt.study.records import Stage
from spectral_opt.tasks import MeanPooledClassifier, TokenizedBatches

T = TypeVar("T")


@dataclass(frozen=True)
class ProbeTask:
    """Labelled texts of another task: a linear probe is fitted to the embeddings of some, and scored on the others."""

    name: str
    batches: TokenizedBatches
    labels: Int[np.ndarray, " texts"]
    fitted: int  # the first texts, on which the probe is fitted


@dataclass(frozen=True)
class EarlierTask:
    """A task that the start was tuned on before: its head, its texts to score, and its training batches."""

    name: str
    classifier: Any  # nn.Linear, from embeddings to the classes of that task
    scored: TokenizedBatches
    labels: Int[np.ndarray, " texts"]
    training: TokenizedBatches


@dataclass
class StudySetting:
    """What the cells of a job share.

    `start` is a mean-pooled classifier in evaluation mode with frozen embeddings, its head a linear probe chosen on
    dev. `training` has one batch a step, in their order, labels in each. `scored` are the texts that a state's score is
    measured on: those of dev in tuning, of test in other stages. `calibration` has "task", other texts of the task with
    labels drawn from the start's own prediction, and "preserve". `neighbours` are the texts of which nearest neighbours
    are counted. `facts` go into every record: sizes, split, truncated texts, and a checksum of each list of texts.
    """

    task: StudyTask
    shots: int
    seed: int
    stage: Stage
    start: MeanPooledClassifier
    training: TokenizedBatches
    dev: TokenizedBatches
    scored: TokenizedBatches
    labels: Mapping[
        str, Int[np.ndarray, " texts"]
    ]  # of "train", "dev" and "scored", in the order of the texts
    calibration: Mapping[str, TokenizedBatches]
    neighbours: TokenizedBatches
    probes: tuple[ProbeTask, ...] = ()
    earlier: EarlierTask | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # Any: plain values of JSON
    _kept: dict[object, Any] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """How many things were made once until now."""
        return len(self._kept)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """Return what `make` gives, made once for all cells of the job: graphs, embeddings of the start."""
        if key not in self._kept:
            self._kept[key] = make()
        value: T = self._kept[key]
        return value
