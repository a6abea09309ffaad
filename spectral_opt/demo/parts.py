"""The main job, small: which graph carries the gradient, fine-tuning side by side, and refinement without training."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from paramgraph.nodes import node_tables
from paramgraph.sources import collect_batch_gradients
from spectral_opt.demo.graph_evidence import CONSTRUCTIONS, Evidence, measure_constructions
from spectral_opt.demo.refinement_front import FAMILIES, Family, make_refiner, refined_states
from spectral_opt.demo.setting import DemoSetting
from spectral_opt.errors import TrainingDivergedError
from spectral_opt.preparation import PreparedTable
from spectral_opt.study import (
    FineTuned,
    Method,
    RunRecord,
    Stage,
    accuracy_interval,
    append_record,
    fine_tune,
    get_method,
    paired_p_value,
    prepare_method,
    relative_drift,
    retention,
)
from spectral_opt.tasks import (
    MeanPooledClassifier,
    embed_texts,
    predict_logits,
    score_classes,
    unused_by_mean_pooling,
)

METHODS = ("adamw", "l2sp", "spectral_penalty", "spectral_filter")


@dataclass(frozen=True)
class Score:
    """What one model reached, and what it kept of its start.

    Test accuracy, a share of 1, has its 95 % Wilson interval; in balanced accuracy and macro F1 every class counts
    alike. `p_value` is that of McNemar's exact paired
    test against plain AdamW, `neighbours_kept` and `cosine` are retention on text of another task, `drift` is
    the relative distance of the matrices from the pretrained ones.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    macro_f1: float
    p_value: float
    neighbours_kept: float
    cosine: float
    drift: float


@dataclass(frozen=True)
class TrainedRow:
    """One method of the comparison: what was tried on dev, and what the chosen run reached on test."""

    method: Method
    learning_rate: float
    tuning: tuple[dict[str, float], ...]
    losses: tuple[float, ...]
    score: Score
    seconds: float


@dataclass(frozen=True)
class RefinedRow:
    """One point of the refinement's front."""

    family: Family
    strength: float
    score: Score


@dataclass
class Demo:
    """Run the three parts in order, and append each finished run to `records`, a file of JSON lines, at once.

    `advance` is called with seconds' worth of work done and what comes next; it moves the progress bar.
    """

    setting: DemoSetting
    records: Path
    advance: Callable[[float, str], None]
    evidence: list[Evidence] = field(default_factory=list)
    trained: list[TrainedRow] = field(default_factory=list)
    refined: list[RefinedRow] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = self.setting.start
        self._start_state = {name: tensor.clone() for name, tensor in start.state_dict().items()}
        self._matrices = list(node_tables(start, exclude=unused_by_mean_pooling(start)))
        self._before = embed_texts(start, self.setting.retention).numpy()
        self._features: dict[object, dict[str, torch.Tensor]] = {}
        self._baseline: Bool[np.ndarray, " texts"] | None = None
        self._probe_correct = self._correct(start)
        self.probe_score = self._score(start)

    def measure_graphs(self) -> None:
        """Measure signal-to-noise by fifth of the spectrum for every construction and its null."""
        started = time.perf_counter()
        setting = self.setting
        stacked: dict[str, list[Float[torch.Tensor, "nodes width"]]] = {name: [] for name in setting.tables}
        for gradients in collect_batch_gradients(setting.start, setting.tables, setting.measuring):
            for name, gradient in gradients.items():
                stacked[name].append(gradient)
            self.advance(0.5, "gradients to be measured")
        for evidence in measure_constructions(
            setting.start,
            setting.tables,
            setting.building,
            {name: torch.stack(gradients) for name, gradients in stacked.items()},
            seed=setting.options.seed,
            on_table=lambda: self.advance(0.4, "graphs and their spectra"),
        ):
            self.evidence.append(evidence)
        self.seconds["graphs"] = time.perf_counter() - started

    def train_methods(self) -> None:
        """Tune every method's learning rate on dev with one budget, then test; each null runs at its method's rate."""
        started = time.perf_counter()
        for name in METHODS:
            self._tune_and_test(get_method(name), self.setting.options.learning_rates)
        for row in [row for row in self.trained if row.method.configs and row.method.configs[0].builder]:
            self._tune_and_test(row.method.permuted_null(), (row.learning_rate,))
        self.seconds["training"] = time.perf_counter() - started

    def refine(self) -> None:
        """Refine the AdamW result by every family and strength."""
        started = time.perf_counter()
        setting, tuned = self.setting, self._tuned_baseline
        probe = copy.deepcopy(tuned)
        refiner = make_refiner(setting.start, {"preserve": setting.preserve})
        for family in FAMILIES:
            run_started = time.perf_counter()
            for strength, state in refined_states(setting.start, tuned, family, refiner):
                probe.load_state_dict(state)
                self.refined.append(RefinedRow(family, strength, self._score(probe)))
                seconds, run_started = time.perf_counter() - run_started, time.perf_counter()
                config = {
                    "strength": strength,
                    "spectral": family.config.to_dict() if family.config else None,
                    "null": family.null,
                }
                self._record(f"refine: {family.name}", config, asdict(self.refined[-1].score), seconds)
                self.advance(8.0, "refinement without training")
        self.seconds["refinement"] = time.perf_counter() - started

    def _tune_and_test(self, method: Method, rates: tuple[float, ...]) -> None:
        setting = self.setting
        best: tuple[tuple[float, float], float, FineTuned] | None = None
        tuning = []
        started = time.perf_counter()
        prepared = prepare_method(setting.start, method, {"task": setting.building["drawn"]}, self._features)
        labels = torch.from_numpy(setting.labels["dev"])
        for rate in rates:
            result = self._fine_tune(method, rate, prepared)
            logits = predict_logits(_classifier(result.model), setting.dev)
            accuracy = float((logits.argmax(1) == labels).float().mean())
            loss = float(nn.functional.cross_entropy(logits, labels))
            scores = asdict(score_classes(logits.argmax(1).numpy(), setting.labels["dev"]))
            tuning.append(
                {
                    "learning_rate": rate,
                    "dev_accuracy": accuracy,
                    **{f"dev_{name}": score for name, score in scores.items()},
                    "dev_loss": loss,
                }
            )
            self._record(
                method.name,
                _run_config(method, rate),
                {**tuning[-1], "losses": result.losses},
                result.seconds,
                "tuning",
            )
            # Dev accuracy on some hundred texts ties often; the loss breaks the tie.
            if best is None or (accuracy, -loss) > best[0]:
                best = ((accuracy, -loss), rate, result)
        assert best is not None, "options.learning_rates is never empty"
        _, rate, chosen = best
        if method.name == "adamw":
            self._tuned_baseline = _classifier(chosen.model)
            self._baseline = self._correct(self._tuned_baseline)
            against = paired_p_value(self._probe_correct, self._baseline)
            self.probe_score = replace(self.probe_score, p_value=against)
        score = self._score(_classifier(chosen.model))
        row = TrainedRow(method, rate, tuple(tuning), chosen.losses, score, time.perf_counter() - started)
        self.trained.append(row)
        self._record(method.name, _run_config(method, rate), asdict(score), row.seconds)
        self.advance(8.0, method.title)

    def _fine_tune(
        self, method: Method, rate: float, prepared: tuple[tuple[PreparedTable, ...], ...]
    ) -> FineTuned:
        try:
            return fine_tune(
                self.setting.start,
                self.setting.training,
                method,
                learning_rate=rate,
                seed=self.setting.options.seed,
                prepared=prepared,
                on_step=lambda: self.advance(0.45, f"{method.title}, learning rate {rate:g}"),
            )
        except TrainingDivergedError as error:
            finished = (
                len(self.records.read_text(encoding="utf-8").splitlines()) if self.records.exists() else 0
            )
            raise TrainingDivergedError(
                f"{error}; {finished} finished runs are saved in {self.records}"
            ) from error

    def _predicted(self, model: MeanPooledClassifier) -> Int[np.ndarray, " texts"]:
        return np.asarray(predict_logits(model, self.setting.test).argmax(1).numpy())

    def _correct(self, model: MeanPooledClassifier) -> Bool[np.ndarray, " texts"]:
        return np.asarray(self._predicted(model) == self.setting.labels["test"])

    def _score(self, model: MeanPooledClassifier) -> Score:
        predicted = self._predicted(model)
        correct = np.asarray(predicted == self.setting.labels["test"])
        kept = retention(self._before, embed_texts(model, self.setting.retention).numpy())
        state = model.state_dict()
        return Score(
            *accuracy_interval(correct),
            **asdict(score_classes(predicted, self.setting.labels["test"])),
            p_value=1.0 if self._baseline is None else paired_p_value(correct, self._baseline),
            neighbours_kept=kept.neighbours_kept,
            cosine=kept.cosine,
            drift=relative_drift(self._start_state, state, self._matrices),
        )

    def _record(
        self,
        method: str,
        config: Mapping[str, Any],
        metrics: Mapping[str, Any],
        seconds: float,
        stage: Stage = "exploration",
    ) -> None:
        options = self.setting.options
        shared = {"model": self.setting.loaded.name, **asdict(options)}
        append_record(
            self.records,
            RunRecord(
                method=method,
                task=self.setting.data.name,
                seed=options.seed,
                config={**shared, **config},
                metrics=dict(metrics),
                seconds=seconds,
                stage=stage,
            ),
        )


def work_ahead(setting: DemoSetting) -> float:
    """Return the work of a demonstration, in the units that `Demo.advance` is given."""
    options = setting.options
    graphs = 0.5 * len(setting.measuring) + 0.4 * len(setting.tables) * len(CONSTRUCTIONS)
    methods = [get_method(name) for name in METHODS]
    nulls = sum(bool(method.configs and method.configs[0].builder) for method in methods)
    runs = len(methods) * len(options.learning_rates) + nulls
    training = 8.0 * (len(methods) + nulls) + 0.45 * options.steps * runs
    return graphs + training + 8.0 * sum(len(family.strengths) for family in FAMILIES)


def _run_config(method: Method, rate: float) -> dict[str, Any]:
    return {"learning_rate": rate, "spectral": [config.to_dict() for config in method.configs]}


def _classifier(model: nn.Module) -> MeanPooledClassifier:
    if not isinstance(model, MeanPooledClassifier):
        raise TypeError(f"the demonstration tunes a MeanPooledClassifier, got {type(model).__name__}")
    return model
