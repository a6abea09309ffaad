"""The main job, small: which graph carries the gradient, fine-tuning side by side, and refinement without training."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from paramgraph.errors import one_line
from paramgraph.nodes import NodeTable, node_tables
from paramgraph.sources import collect_batch_gradients
from spectral_opt.demo.finished_work import FinishedWork
from spectral_opt.demo.graph_evidence import Features, collect_features, measure_table
from spectral_opt.demo.refinement_front import (
    FAMILIES,
    PRODUCT,
    SCALING,
    SHOWN_STRENGTH,
    Family,
    Graph,
    equal_factor,
    make_refiner,
    preserving,
    refined,
    scaled,
)
from spectral_opt.demo.setting import DemoSetting
from spectral_opt.errors import TrainingDivergedError
from spectral_opt.preparation import NUMERIC_FAILURES, PreparedTable, told_reasons
from spectral_opt.refinement import RefinedState, Refiner
from spectral_opt.study import (
    FineTuned,
    Method,
    RunRecord,
    Stage,
    accuracy_interval,
    fine_tune,
    get_method,
    neighbours_kept,
    paired_p_value,
    prepare_method,
    relative_drift,
    retention,
    sign_flip_p_value,
)
from spectral_opt.tasks import (
    MeanPooledClassifier,
    TokenizedBatches,
    embed_texts,
    predict_logits,
    score_classes,
    unused_by_mean_pooling,
)

# AdamW, penalty, filter and both of them are two by two; L2-SP is the penalty without a graph.
METHODS = ("adamw", "spectral_penalty", "spectral_filter", "spectral_both", "l2sp")
LONGER, EQUAL = "AdamW, longer", "scaled to keep as much as the product graph"
# Text by text, for paired tests; what is shown leaves them out.
ANSWERS, KEPT = "predicted", "kept_by_text"
T = TypeVar("T")
# Seconds of two quiet cores, measured on the embedded model at the usual size: the bar's units.
GRADIENTS, TABLE, STEP, SCORE, GRAPHS = 0.35, 7.0, 0.5, 5.0, 15.0


@dataclass(frozen=True)
class Score:
    """What one model reached, and what it kept of its start.

    Test accuracy, a share of 1, has its 95 % Wilson interval; in balanced accuracy and macro F1 every class counts
    alike. `p_value` is that of McNemar's exact paired test against the row that its part compares with (plain AdamW,
    the fine-tune that is refined), `p_start` against the linear probe that all start from. `neighbours_kept` and
    `cosine` are retention on text of another task, `drift` is the relative distance of the matrices from the
    pretrained ones.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    macro_f1: float
    p_value: float
    p_start: float
    neighbours_kept: float
    cosine: float
    drift: float


@dataclass
class Demo:
    """Run the three parts in order; what is finished is kept in `work` at once, and not done again.

    `advance` is called with seconds' worth of work done and what comes next; it moves the progress bar.
    """

    setting: DemoSetting
    work: FinishedWork
    advance: Callable[[float, str], None]
    cells: list[dict[str, Any]] = field(default_factory=list)  # of graphs; all three hold plain values
    trained: list[dict[str, Any]] = field(default_factory=list)
    refined: list[dict[str, Any]] = field(default_factory=list)
    # Matrices that a part has nothing of, by their names, each with its reason.
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = self.setting.start
        self._start_state = {name: tensor.clone() for name, tensor in start.state_dict().items()}
        self._matrices = list(node_tables(start, exclude=unused_by_mean_pooling(start)))
        self._before = embed_texts(start, self.setting.retention).numpy()
        self._features: dict[object, Any] = {}  # what `prepare_method` keeps
        self._unread: dict[str, str] = {}
        self._built: tuple[Graph, Refiner] | None = None
        self._earlier = 0.0
        self._start_predicted = self._predicted(start)

    @property
    def start_score(self) -> dict[str, Any]:
        """Score the linear probe that all start from, beside plain AdamW."""
        return self._scored(self._start_predicted, self._before, self._start_state, self.trained)

    def measure_graphs(self) -> None:
        """Measure on every matrix what each construction gathers of the gradient, beside permuted nodes."""
        left_out: dict[str, str] = {}
        with self._timed("graphs"):
            for group, table in self.setting.tables.items():
                measured = self._piece(
                    _graph_piece(group), partial(self._measured, table), TABLE, "graphs and their spectra"
                )
                self.cells += measured["cells"]
                if measured["left_out"]:
                    left_out[group] = measured["left_out"]
        if left_out:
            self.left_out["graphs"] = left_out
        if not self.cells:
            raise ValueError(f"no matrix can be measured: {told_reasons(left_out)}")

    def train_methods(self) -> None:
        """Tune every method's learning rate on dev with one budget, then test; each null runs at its method's rate."""
        with self._timed("training"):
            for name in METHODS:
                self._train(get_method(name), self.setting.options.learning_rates)
            for row in [row for row in self.trained if _has_graph(get_method(row["method"]))]:
                self._train(get_method(row["method"]).permuted_null(), (row["learning_rate"],))
                self.trained[-1] |= self._beside_null(row, self.trained[-1])

    def _beside_null(self, row: Mapping[str, Any], null: Mapping[str, Any]) -> dict[str, float]:
        """Test a method beside its null, text by text: whether either is right, and what neighbours are kept."""
        labels = self.setting.labels["test"]
        first, second = (np.array(one[ANSWERS]) == labels for one in (row, null))
        kept = np.array(row[KEPT]) - np.array(null[KEPT])
        return {
            "p_null_accuracy": paired_p_value(first, second),
            "p_null_neighbours": sign_flip_p_value(kept, self.setting.options.seed),
        }

    def refine(self) -> None:
        """Fine-tune until much is forgotten, then refine that by every family and strength.

        Last comes the delta scaled to what the product graph keeps at its usual strength: a pair to be compared.
        """
        with self._timed("refinement"):
            self._add_refined(LONGER, None, lambda: self._tuned)
            for family in FAMILIES:
                for strength in family.strengths:
                    self._add_refined(
                        family.name,
                        strength,
                        lambda family=family, strength=strength: self._state(family, strength),  # type: ignore[misc]
                        family,
                    )
            factor = self._equal_factor()
            if factor is not None:
                self._add_refined(
                    EQUAL,
                    factor,
                    lambda: scaled(self._start_state, self._tuned, factor),
                )

    def _measured(self, table: NodeTable) -> dict[str, Any]:
        """Measure one matrix on all constructions, or say why it is left out of all of them: they are compared."""
        options = self.setting.options
        gradients, built_from = self._gradients.get(table.group), self._built_from
        if gradients is None or table.group in self._unread:
            return {"cells": [], "left_out": self._unread[table.group]}
        try:
            cells = measure_table(table, built_from, gradients, options.permutations, options.seed)
        except NUMERIC_FAILURES as error:  # what is kept is not tried again
            return {"cells": [], "left_out": one_line(error)}
        return {"cells": cells, "left_out": ""}

    def example_features(self) -> tuple[str, Features]:
        """Give the smallest matrix that was measured, to be drawn, and what its graphs are built from."""
        names = [name for name in self.setting.tables if name not in self.left_out.get("graphs", ())]
        name = min(names, key=lambda name: self.setting.tables[name].shape[0])
        if "_built_from" in vars(self):
            return name, self._built_from
        # All graphs were measured before an interruption.
        setting, tables = self.setting, {name: self.setting.tables[name]}
        return name, collect_features(setting.start, tables, setting.building)

    @cached_property
    def _built_from(self) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
        setting = self.setting
        return collect_features(setting.start, setting.tables, setting.building, self._unread.__setitem__)

    @cached_property
    def _gradients(self) -> dict[str, Float[torch.Tensor, "batches _ _"]]:
        setting = self.setting
        stacked: dict[str, list[Float[torch.Tensor, "nodes width"]]] = {name: [] for name in setting.tables}
        for gradients in collect_batch_gradients(
            setting.start, setting.tables, setting.measuring, on_failure=self._unread.__setitem__
        ):
            for name, gradient in gradients.items():
                stacked[name].append(gradient)
            self.advance(GRADIENTS, "gradients to be measured")
        return {
            name: torch.stack(gradients) for name, gradients in stacked.items() if name not in self._unread
        }

    def _train(self, method: Method, rates: tuple[float, ...]) -> None:
        row = self._piece(method.name, lambda: self._tune_and_test(method, rates), SCORE, method.title)
        self.trained.append(row)
        if row["left_alone"]:
            self.left_out[row["title"]] = row["left_alone"]

    def _piece(self, name: str, make: Callable[[], T], work: float, what: str) -> T:
        """Make a piece and count its work, or take it as it was finished before."""
        is_known = name in self.work.known
        value: T = self.work.once(name, make)
        if is_known:
            self._earlier += self.work.known[name]["seconds"]
        else:
            self.advance(work, what)
        return value

    def _tune_and_test(self, method: Method, rates: tuple[float, ...]) -> dict[str, Any]:
        setting = self.setting
        best: tuple[tuple[float, float], float, FineTuned] | None = None
        tuning = []
        started = time.perf_counter()
        prepared = prepare_method(setting.start, method, {"task": setting.building["drawn"]}, self._features)
        labels = torch.from_numpy(setting.labels["dev"])
        for rate in rates:
            result = self._fine_tune(method, rate, setting.training, prepared)
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
        score = self._score(_classifier(chosen.model), self.trained)
        seconds = time.perf_counter() - started
        self._record(method.name, _run_config(method, rate), without_answers(score), seconds)
        return {
            "method": method.name,
            "title": method.title,
            "description": method.description,
            "null_of": method.null_of,
            "learning_rate": rate,
            "tuning": tuning,
            "losses": list(chosen.losses),
            "seconds": seconds,
            "spectral": [config.to_dict() for config in method.configs],
            "left_alone": dict(chosen.left_alone),
            **score,
        }

    def _forget(self) -> dict[str, torch.Tensor]:
        rate = self.setting.options.long_rate
        result = self._fine_tune(get_method("adamw"), rate, self.setting.longer)
        return {name: tensor.detach() for name, tensor in result.model.state_dict().items()}

    def _state(self, family: Family, strength: float) -> dict[str, torch.Tensor]:
        if family.graph is None:
            return scaled(self._start_state, self._tuned, strength)
        refiner = self._refiner(family)
        return refined(refiner, self._tuned, strength)

    def _refiner(self, family: Family) -> Refiner:
        """Build the graphs of one kind, and let go of those of another."""
        assert family.graph is not None, "scaling has none"
        if self._built is None or self._built[0] != family.graph:
            self._built = None
            batches = {"preserve": self.setting.preserve}
            self._built = family.graph, make_refiner(self.setting.start, family.graph, batches)
            self.advance(GRAPHS, "graphs of preserved text")
        refiner = self._built[1]
        return refiner if family.null is None else refiner.null(family.null, seed=self.setting.options.seed)

    def _equal_factor(self) -> float | None:
        """Find the factor at which scaling keeps as many neighbours as the product graph."""
        rows = {(row["family"], row["strength"]): row["neighbours_kept"] for row in self.refined}
        curve = {
            1.0: rows[LONGER, None],
            **{factor: rows[SCALING.name, factor] for factor in SCALING.strengths},
        }
        return equal_factor(curve, rows[PRODUCT.name, SHOWN_STRENGTH])

    def _add_refined(
        self,
        name: str,
        strength: float | None,
        make: Callable[[], Mapping[str, torch.Tensor]],
        family: Family | None = None,
    ) -> None:
        def measure() -> dict[str, Any]:
            started = time.perf_counter()
            state = make()
            self._probe.load_state_dict(state)
            score = self._score(self._probe, self.refined)
            spectral = (
                preserving(self.setting.start, family.graph).to_dict() if family and family.graph else None
            )
            null = family.null if family else None
            config = {"strength": strength, "spectral": spectral, "null": null}
            self._record(f"refine: {name}", config, without_answers(score), time.perf_counter() - started)
            skipped = state.skipped if isinstance(state, RefinedState) else {}
            row = {"family": name, "is_null": null is not None, "strength": strength, "spectral": spectral}
            return {**row, "left_alone": skipped, **score}

        row = self._piece(_refined_piece(name, strength), measure, SCORE, "refinement without training")
        self.refined.append(row)
        if row["left_alone"]:
            self.left_out[name] = row["left_alone"]

    @cached_property
    def _tuned(self) -> dict[str, torch.Tensor]:
        return self.work.state_once(self._forget)

    @cached_property
    def _probe(self) -> MeanPooledClassifier:
        return copy.deepcopy(self.setting.start)

    def _fine_tune(
        self,
        method: Method,
        rate: float,
        batches: TokenizedBatches,
        prepared: tuple[tuple[PreparedTable, ...], ...] = (),
    ) -> FineTuned:
        try:
            return fine_tune(
                self.setting.start,
                batches,
                method,
                learning_rate=rate,
                seed=self.setting.options.seed,
                prepared=prepared,
                on_step=lambda: self.advance(STEP, f"{method.title}, learning rate {rate:g}"),
            )
        except TrainingDivergedError as error:
            raise TrainingDivergedError(
                f"{error}; {len(self.work.known)} finished pieces are kept in {self.work.folder}"
            ) from error

    def _predicted(self, model: MeanPooledClassifier) -> Int[np.ndarray, " texts"]:
        return np.asarray(predict_logits(model, self.setting.test).argmax(1).numpy())

    def _score(self, model: MeanPooledClassifier, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        after = embed_texts(model, self.setting.retention).numpy()
        return self._scored(self._predicted(model), after, model.state_dict(), rows)

    def _scored(
        self,
        predicted: Int[np.ndarray, " texts"],
        after: Float[np.ndarray, "others width"],
        state: Mapping[str, torch.Tensor],
        rows: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Score a model beside the first of the rows of its part; its answers are kept for the tests of others."""
        labels = self.setting.labels["test"]
        correct = np.asarray(predicted == labels)
        kept = retention(self._before, after)
        score = Score(
            *accuracy_interval(correct),
            **asdict(score_classes(predicted, labels)),
            p_value=paired_p_value(correct, np.array(rows[0][ANSWERS]) == labels) if rows else 1.0,
            p_start=paired_p_value(correct, self._start_predicted == labels),
            neighbours_kept=kept.neighbours_kept,
            cosine=kept.cosine,
            drift=relative_drift(self._start_state, state, self._matrices),
        )
        by_text = neighbours_kept(self._before, after).tolist()
        return {**asdict(score), ANSWERS: predicted.tolist(), KEPT: by_text}

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        """Count what a part took, with what its pieces took before an interruption."""
        self._earlier, started = 0.0, time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - started + self._earlier

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
        self.work.add_run(
            RunRecord(
                method=method,
                task=self.setting.data.name,
                seed=options.seed,
                config={**shared, **config},
                metrics=dict(metrics),
                seconds=seconds,
                stage=stage,
            )
        )


def work_ahead(setting: DemoSetting, work: FinishedWork) -> float:
    """Return the work that is left of a demonstration, in the units that `Demo.advance` is given."""
    options, known = setting.options, work.known
    graphs = sum(_graph_piece(group) not in known for group in setting.tables)
    ahead = TABLE * graphs + (GRADIENTS * len(setting.measuring) if graphs else 0.0)
    for method in map(get_method, METHODS):
        if method.name not in known:
            ahead += STEP * options.steps * len(options.learning_rates) + SCORE
        if _has_graph(method) and method.permuted_null().name not in known:
            ahead += STEP * options.steps + SCORE
    ahead += STEP * options.long_steps * (not work.has_state) + SCORE * (
        _refined_piece(LONGER, None) not in known
    )
    kinds = set()
    for family in FAMILIES:
        left = [one for one in family.strengths if _refined_piece(family.name, one) not in known]
        ahead += SCORE * len(left)
        kinds |= {family.graph} if left else set()
    return ahead + GRAPHS * len(kinds - {None}) + SCORE


def without_answers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is of single texts."""
    return {name: value for name, value in row.items() if name not in (ANSWERS, KEPT)}


def _graph_piece(group: str) -> str:
    return f"graphs of {group}"


def _refined_piece(name: str, strength: float | None) -> str:
    return f"refined: {name}" if strength is None else f"refined: {name}, {strength:g}"


def _has_graph(method: Method) -> bool:
    return bool(method.configs and method.configs[0].builder)


def _run_config(method: Method, rate: float) -> dict[str, Any]:
    return {"learning_rate": rate, "spectral": [config.to_dict() for config in method.configs]}


def _classifier(model: nn.Module) -> MeanPooledClassifier:
    if not isinstance(model, MeanPooledClassifier):
        raise TypeError(f"the demonstration tunes a MeanPooledClassifier, got {type(model).__name__}")
    return model
