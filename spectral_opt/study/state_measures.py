"""What a state of a job's model is worth: its task on texts that trained nothing, and what it lost of its start."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from paramgraph.measures import FIFTHS, band_energy, second_moments
from paramgraph.nodes import NodeTable, node_tables
from paramgraph.spectra import Spectrum, eigenpairs
from spectral_opt.errors import TrainingDivergedError
from spectral_opt.study.evaluation import relative_drift, retention
from spectral_opt.tasks import (
    MeanPooledClassifier,
    TokenizedBatches,
    embed_texts,
    score_classes,
    unused_by_mean_pooling,
)

if TYPE_CHECKING:
    from spectral_opt.study.classifier_setting import ClassifierSetting
    from spectral_opt.study.setting import StudySetting

# Of states: plain values, as they stand in a record.
Metrics = dict[str, Any]


class StateMeasures(ABC):
    """Measure states of one job, all on the same texts; how, each kind of task says."""

    def __init__(self, setting: "StudySetting") -> None:
        self.setting = setting
        self._start = setting.start.state_dict()
        tables = node_tables(setting.start, exclude=unused_by_mean_pooling(setting.start)).values()
        self._matrices = list(dict.fromkeys(name for table in tables for name in table.parameters))

    def start(self) -> Metrics:
        """Measure the start itself, once."""
        return self.setting.once("measures of the start", lambda: self.measure(self._start, whole=True))

    def scaled(self, tuned: Mapping[str, Tensor], factor: float) -> Metrics:
        """Measure the state on the way from the start to `tuned`; 1 is `tuned` to the last bit, with its probes."""
        state = dict(tuned) if factor == 1 else _lerp(self._start, tuned, factor)
        return {"factor": factor, **self.measure(state, whole=factor == 1)}

    def measure(self, state: Mapping[str, Tensor], whole: bool = False) -> Metrics:
        """Measure a state with the names of the start; `whole`: with probes on other tasks."""
        found = self.measure_model(self.loaded(state), whole)
        return found | {"drift": relative_drift(self._start, state, self._matrices)}

    @abstractmethod
    def loaded(self, state: Mapping[str, Tensor]) -> nn.Module:
        """Give a model of these weights, which lasts until the next one."""

    @abstractmethod
    def measure_model(self, model: nn.Module, whole: bool = False) -> Metrics:
        """Measure a model, of whatever weights; TrainingDivergedError where what it makes of a text is no number."""

    @abstractmethod
    def look(self, model: nn.Module) -> dict[str, float]:
        """Measure the loss on dev, and what goes with it, while a model is trained; its mode stays."""

    def bands(self, tuned: Mapping[str, Tensor]) -> list[float]:
        """Measure the share of the change's energy by fifth of the spectrum; empty where it is not measured."""
        return []


class ClassifierMeasures(StateMeasures):
    """Measure classes of texts, and how many of the nearest neighbours of other texts are lost."""

    setting: "ClassifierSetting"

    def __init__(self, setting: "ClassifierSetting") -> None:
        super().__init__(setting)
        self._scratch = copy.deepcopy(setting.start)
        self._before = embed_texts(setting.start, setting.neighbours).numpy()

    def loaded(self, state: Mapping[str, Tensor]) -> nn.Module:
        """Copy the weights into a copy of the start."""
        self._scratch.load_state_dict(state)
        return self._scratch

    def measure_model(self, model: nn.Module, whole: bool = False) -> Metrics:
        """Score classes, count neighbours; `whole`: fit probes."""
        assert isinstance(model, MeanPooledClassifier), "a task of classes tunes mean-pooled classifiers"
        setting = self.setting
        found = task_scores(_logits(model, setting.scored), setting.labels["scored"])
        kept = retention(self._before, embed_texts(model, setting.neighbours).numpy())
        found |= {"lost": 1 - kept.neighbours_kept, "cosine": kept.cosine}
        if setting.earlier is not None:
            earlier = _classified(setting.earlier.classifier, embed_texts(model, setting.earlier.scored))
            found["earlier"] = {
                setting.earlier.name: task_scores(earlier, setting.earlier.labels)["accuracy"]
            }
        if whole:
            found["probes"] = {
                probe.name: _probe_accuracy(
                    embed_texts(model, probe.batches).numpy(), probe.labels, probe.fitted
                )
                for probe in setting.probes
            }
        return found

    def look(self, model: nn.Module) -> dict[str, float]:
        """Measure loss and accuracy on dev while a model is trained; its mode stays."""
        assert isinstance(model, MeanPooledClassifier), "a study tunes mean-pooled classifiers"
        scores = task_scores(_logits(model, self.setting.dev), self.setting.labels["dev"])
        return {"dev_loss": scores["loss"], "dev_accuracy": scores["accuracy"]}

    def bands(self, tuned: Mapping[str, Tensor]) -> list[float]:
        r"""Measure the share of the change's energy by fifth of the spectrum, strong modes first.

        .. math:: \|\Delta U_b\|_F^2 / \|\Delta\|_F^2

        summed over matrices, U_b the eigenvectors of the Gram matrix of a layer's inputs on preserved text; what has
        no relation to that text gives each its fifth. Empty where nothing changed.
        """
        energies = torch.zeros(len(FIFTHS) - 1, dtype=torch.float64)
        for table, spectrum in self._column_spectra():
            names = {name: f"encoder.{name}" for name in table.parameters}
            change = {
                name: tuned[own].cpu().double() - self._start[own].cpu().double()
                for name, own in names.items()
            }
            energies += band_energy(spectrum, table.gather(change), FIFTHS)
        total = float(energies.sum())
        return [float(energy) / total for energy in energies] if total else []

    def _column_spectra(self) -> list[tuple[NodeTable, Spectrum]]:
        def build() -> list[tuple[NodeTable, Spectrum]]:
            encoder = self.setting.start.encoder
            tables = node_tables(encoder, "columns", exclude=unused_by_mean_pooling(encoder))
            moments = second_moments(encoder, tables, "activations", self.setting.calibration["preserve"])
            return [(table, eigenpairs(moments.operator(group))) for group, table in tables.items()]

        return self.setting.once("spectra of the columns", build)


def _classified(
    classifier: nn.Module, embedded: Float[Tensor, "texts width"]
) -> Float[Tensor, "texts classes"]:
    """Run a head where it lies, and give its logits on the CPU."""
    with torch.no_grad():
        logits: Tensor = classifier(embedded.to(next(classifier.parameters()).device)).cpu()
    return logits


def _logits(model: MeanPooledClassifier, texts: TokenizedBatches) -> Float[Tensor, "texts classes"]:
    logits = _classified(model.classifier, embed_texts(model, texts))
    broken = int((~torch.isfinite(logits)).any(dim=1).sum())
    if broken:
        raise TrainingDivergedError(
            f"the logits of {broken} of {len(logits)} texts are not finite; try a smaller learning rate"
        )
    return logits


def task_scores(logits: Float[Tensor, "texts classes"], labels: Int[np.ndarray, " texts"]) -> Metrics:
    """Score logits: accuracy, AUC (mean over the classes that occur, each against the rest), and which were right."""
    chances = logits.double().softmax(dim=1).numpy()
    predicted = chances.argmax(axis=1)
    correct = predicted == labels
    return {
        "accuracy": float(correct.mean()),
        "auc": mean_auc(chances, labels),
        **asdict(score_classes(predicted, labels)),
        "loss": float(nn.functional.cross_entropy(logits.double(), torch.from_numpy(labels.copy()))),
        "correct": np.packbits(correct).tobytes().hex(),
    }


def mean_auc(chances: Float[np.ndarray, "texts classes"], labels: Int[np.ndarray, " texts"]) -> float:
    """Give the mean over classes of the area under the curve of each against the rest; not a number for one class.

    >>> mean_auc(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]), np.array([0, 1, 1]))
    1.0
    """
    present = np.unique(labels)
    if len(present) < 2:
        return math.nan
    from sklearn.metrics import roc_auc_score  # a second of imports, as below

    return float(np.mean([roc_auc_score(labels == label, chances[:, label]) for label in present]))


def _probe_accuracy(
    embedded: Float[np.ndarray, "texts width"], labels: Int[np.ndarray, " texts"], fitted: int
) -> float:
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(max_iter=2000).fit(embedded[:fitted], labels[:fitted])
    return float(probe.score(embedded[fitted:], labels[fitted:]))


def _lerp(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    return {
        name: torch.lerp(start[name], value, factor) if value.is_floating_point() else value
        for name, value in tuned.items()
    }
