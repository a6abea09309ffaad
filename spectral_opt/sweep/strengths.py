"""The strength sweep of a refinement: filter and scaling at several strengths, one picked on dev, reported on test."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from paramgraph.filters import get_response
from spectral_opt.errors import ModelError
from spectral_opt.refinement import RefinedState, Refiner
from spectral_opt.study import paired_p_value
from spectral_opt.sweep._measures import Forgotten, Measures, TaskResult, Values, mean_interval, run_body
from spectral_opt.sweep.setting import RefinementSetting

# What is done to the delta: all of it taken back, nothing, the filter, a factor.
Family = Literal["base", "tuned", "filter", "scaling"]
# Tables show four digits; less is the rounding of embeddings.
LEAST_FORGOTTEN = 5e-5


@dataclass(frozen=True)
class SweepPoint:
    """One state of the model, measured.

    `strength` is the filter's gamma or the factor; `norm_kept` the norm of what is left of the delta over
    that of the delta; `dev` the task on the texts that pick, `test` on those that report.
    """

    family: Family
    strength: float
    norm_kept: float
    forgotten: Forgotten
    dev: TaskResult | None
    test: TaskResult | None
    seconds: float


@dataclass
class Sweep:
    """Refine at each strength, measure, pick, and write the result.

    `advance` is called with work done and what comes next, `on_point` after each point, so that an
    interruption loses at most one.
    """

    setting: RefinementSetting
    advance: Callable[[float, str], None]
    on_point: Callable[["Sweep"], object] = lambda sweep: None
    points: list[SweepPoint] = field(default_factory=list)
    picked: dict[str, SweepPoint] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    saved: RefinedState | None = None

    def run(self) -> None:
        """Build the graphs, then measure base, fine-tune, filter and scaling at each strength."""
        started = time.perf_counter()
        setting, options = self.setting, self.setting.options
        self._refiner = Refiner(setting.base.model, [setting.config], {"preserve": setting.batches}, run_body)
        self._refiner.base = setting.base  # with its folder and what its checkpoint lacks
        self.seconds["graphs"] = time.perf_counter() - started
        self._load("base", 0.0)
        self._load("tuned", 1.0)
        if not self._changed:
            raise ModelError(
                f"{options.tuned} is {options.base} in every weight that both have: nothing was changed, so there is "
                "nothing to refine, and no model was written"
            )
        self.advance(3.0, "fine-tune and base")
        self._measure("base", 0.0)
        self._measure("tuned", 1.0)
        for strength in sorted(options.strengths):
            self._measure("filter", strength)
        for scale in sorted(options.scales, reverse=True):
            self._measure("scaling", scale)

    def pick(self) -> None:
        """Pick a state of each family on dev.

        Picked is what forgot least among the states that are not worse than the fine-tune by more than one standard
        error of the paired difference; the fine-tune itself, where it forgot nothing. Without task data nothing is
        picked.
        """
        tuned = self.only("tuned")
        if tuned.dev is None:
            return
        families: tuple[Family, ...] = ("filter", "scaling")
        for family in families:
            candidates = [tuned, *(point for point in self.points if point.family == family)]
            allowed = [point for point in candidates if is_as_good(point, tuned, self.setting.measures)]
            least = min(allowed, key=lambda point: float(point.forgotten.per_text.mean()))
            self.picked[family] = least if self.has_forgotten else tuned

    def save(self, folder: Path, overwrite: bool) -> RefinedState:
        """Write the picked filter, or without a pick the default strength, as a model or an adapter."""
        started = time.perf_counter()
        chosen = self.picked.get("filter")
        strength = self.setting.options.default_strength if chosen is None else chosen.strength
        untouched = not self.has_forgotten or (chosen is not None and chosen.family == "tuned")
        response = "identity" if untouched else get_response("tikhonov", gamma=strength)
        self.saved = self._refiner.save(self.setting.tuned, folder, [response], overwrite)
        self.seconds["writing"] = time.perf_counter() - started
        self.advance(1.0, "written")
        return self.saved

    @property
    def work(self) -> float:
        """Total work, in the units that `advance` is given."""
        options = self.setting.options
        return 3.0 + 2.0 * (2 + len(options.strengths) + len(options.scales)) + 1.0

    @property
    def has_forgotten(self) -> bool:
        """Whether the held-out texts show that the fine-tune lost anything of its base."""
        mean, low, _ = mean_interval(self.only("tuned").forgotten.per_text, self.setting.options.seed)
        return mean >= LEAST_FORGOTTEN and low > 0

    def _measure(self, family: Family, strength: float) -> None:
        started = time.perf_counter()
        measures = self.setting.measures
        kept = self._load(family, strength)
        if family == "base":
            measures.remember_base()
        dev, test = (None, None) if self.setting.texts.task is None else measures.task()
        self.points.append(
            SweepPoint(
                family,
                strength,
                kept,
                measures.forgotten(),
                dev,
                test,
                time.perf_counter() - started,
            )
        )
        self.advance(2.0, f"{family} {strength:g}")
        self.on_point(self)

    def _load(self, family: Family, strength: float) -> float:
        """Put a state into the measured module, weight by weight; return the norm kept."""
        factor = None if family == "filter" else strength
        responses = [get_response("tikhonov", gamma=strength)] if family == "filter" else None
        state = dict(self.setting.module.named_parameters(remove_duplicate=False))
        with self._refiner.opened(self.setting.tuned, responses, factor) as stream, torch.no_grad():
            self._changed = 0
            for name, value in stream:
                if name not in state:
                    continue  # a buffer, or what the model's class does not read
                if state[name].shape != value.shape:  # `copy_` would broadcast it
                    raise ModelError(
                        f"{name!r} is {tuple(value.shape)} in {self.setting.tuned} and {tuple(state[name].shape)} in "
                        "the model that its config.json describes"
                    )
                before = state[name].clone()
                self._changed += not torch.equal(before, state[name].copy_(value))
            return stream.norm_kept if factor is None else factor

    def only(self, family: Family) -> SweepPoint:
        """Return the point of a family that has one."""
        return next(point for point in self.points if point.family == family)


def is_as_good(point: SweepPoint, tuned: SweepPoint, measures: Measures) -> bool:
    """Say whether a state is at most one standard error of the paired difference worse than the fine-tune.

    .. [1] L. Breiman et al., "Classification and Regression Trees", 1984: the one-standard-error rule.
    """
    assert point.dev is not None, "picked with task data alone"
    assert tuned.dev is not None, "picked with task data alone"
    worse = (tuned.dev.values - point.dev.values) * (1 if measures.higher_is_better else -1)
    error = float(worse.std(ddof=1)) / math.sqrt(len(worse))
    return bool(float(worse.mean()) <= error)


def compare_on_test(first: Values, second: Values, higher_is_better: bool, seed: int) -> dict[str, Any]:
    """Compare two states text by text: mean difference with its bootstrap interval.

    Where the values are right or wrong, McNemar's p-value stands beside it.
    """
    mean, low, high = mean_interval(first - second, seed)
    found: dict[str, Any] = {"difference": mean, "difference_low": low, "difference_high": high}
    if higher_is_better:
        found["p_value"] = paired_p_value(first.astype(bool), second.astype(bool))
    return found
