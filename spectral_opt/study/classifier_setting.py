"""A task of classes, made real: a mean-pooled classifier, its texts, and those on which forgetting is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_opt.study.plan import StudyTask
from spectral_opt.study.setting import CLASSIFIER, Anatomy, Batches, StudySetting, on_device
from spectral_opt.study.state_measures import ClassifierMeasures
from spectral_opt.tasks import MeanPooledClassifier, TokenizedBatches


@dataclass(frozen=True)
class ProbeTask:
    """Labelled texts of another task: a linear probe is fitted to the embeddings of some, and scored on the others."""

    name: str
    batches: TokenizedBatches
    labels: Int[np.ndarray, " texts"]
    fitted: int  # the first texts, on which the probe is fitted


@dataclass
class ClassifierSetting(StudySetting):
    """What the cells of a job share that learns classes.

    `start` is a mean-pooled classifier, its head a linear probe chosen on dev; the labels of `calibration`'s "task" are
    drawn from its own prediction. `labels` are those of "train", "dev" and "scored", in the order of the texts.
    `neighbours` are the texts of which nearest neighbours are counted.
    """

    anatomy: ClassVar[Anatomy] = CLASSIFIER

    task: StudyTask
    start: MeanPooledClassifier
    training: TokenizedBatches
    dev: TokenizedBatches
    scored: TokenizedBatches
    calibration: Mapping[str, TokenizedBatches]
    labels: Mapping[str, Int[np.ndarray, " texts"]]
    neighbours: TokenizedBatches
    probes: tuple[ProbeTask, ...] = ()

    @property
    def read(self) -> tuple[Batches, ...]:
        """All batches that pass the model."""
        return (*super().read, self.neighbours)

    def place(self, device: torch.device) -> None:
        """Put texts of which neighbours are counted, and those of probes, there too."""
        super().place(device)
        self.neighbours = on_device(self.neighbours, device)
        self.probes = tuple(replace(probe, batches=on_device(probe.batches, device)) for probe in self.probes)

    def measures(self) -> ClassifierMeasures:
        """Measure accuracy and neighbours."""
        return ClassifierMeasures(self)

    def embed(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "texts width"]:
        """Give the mean of token states."""
        embeddings: Tensor = model(**batch).embeddings
        return embeddings
