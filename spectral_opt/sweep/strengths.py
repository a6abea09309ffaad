"""The strength sweep of a refinement: filter, nulls and scaling, one state picked on dev, reported on test."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from paramgraph.filters import get_response
from spectral_opt.errors import ModelError
from spectral_opt.refinement import RefinedState, Refiner
from spectral_opt.sweep._decision import Decision, decide, is_as_good, pick
from spectral_opt.sweep._measures import mean_interval, run_body
from spectral_opt.sweep._metrics import Metric
from spectral_opt.sweep._points import Family, SweepPoint, around, front_of
from spectral_opt.sweep._texts import check_graphs
from spectral_opt.sweep._words import SweepNull
from spectral_opt.sweep.setting import RefinementSetting
from spectral_opt.sweep.unmeasured import told_moments

# Tables show four digits; less is the rounding of embeddings.
LEAST_FORGOTTEN = 5e-5
# A stronger filter is not looked for where this share of what the fine-tune forgot is left.
LITTLE = 0.02
# Strengths of a null; it needs larger ones than the filter, and how much larger is not known before.
NULL_STRENGTHS = 10
# Factors that are tried to forget as much as the filter's pick, and how near is near enough.
MATCHINGS, NEAR = 2, 0.03


@dataclass
class Sweep:
    """Refine at each strength, measure, decide, and write the result.

    `advance` is called with work done and what comes next, `on_point` after each point, so that an
    interruption loses at most one.
    """

    setting: RefinementSetting
    advance: Callable[[float, str], None]
    on_point: Callable[["Sweep"], object] = lambda sweep: None
    points: list[SweepPoint] = field(default_factory=list)
    picked: dict[str, SweepPoint] = field(default_factory=dict)
    decision: Decision | None = None
    remarks: list[str] = field(default_factory=list)
    # Tables that no strength of the filter acts on, by group, each with its reason.
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    saved: RefinedState | None = None
    # States of the same sweep that were measured before it was interrupted.
    known: Sequence[SweepPoint] = ()
    # A file of graphs: read where there is one, which the same texts have built, else written.
    moments: Path | None = None
    # Processes that build graphs where there is no such file.
    workers: int | None = None
    asked: float | None = None  # the strength that is written whatever is picked; 0 is the fine-tune
    # All of the work, in the units that `advance` is given.
    work: float = 1.0

    def __post_init__(self) -> None:
        if self.moments is not None:
            check_graphs(self.moments, self.setting.made_of)

    def run(self) -> None:
        """Build the graphs, then measure base and fine-tune, and each strength of filter, nulls and scaling."""
        started = time.perf_counter()
        self._started, self._told = started, 0.0
        setting, options = self.setting, self.setting.options
        self.advance(0.0, "graphs")
        known = self.moments is not None and self.moments.exists()
        self._refiners = {
            "filter": Refiner(
                setting.base.model,
                [setting.config],
                setting.sets,
                run_body,
                rest=options.rest,
                moments=self.moments if known else None,
                workers=None if known else self.workers,
            )
        }
        if self.moments is not None:
            if not known:
                self._refiner.write_moments(self.moments, setting.made_of)
            self.remarks.append(f"graphs were {told_moments(self.moments, known)}")
        self._refiner.base = setting.base  # with its folder and what its checkpoint lacks
        self.seconds["graphs"] = time.perf_counter() - started
        with self._refiner.opened(setting.tuned) as stream:
            self.skipped |= stream.skipped
        self._load("base", 0.0)
        self._load("tuned", 1.0)
        if not self._changed:
            raise ModelError(
                f"{options.tuned} is {options.base} in every weight that both have: nothing was changed, so there is "
                "nothing to refine, and no model was written"
            )
        self._measure("base", 0.0)
        if remark := setting.measures.domain_remark(options.seed):
            self.remarks.append(remark)
        self._measure("tuned", 1.0)
        if not self.has_forgotten:
            return
        self.asked = options.strength if options.keep is None else self._strength_that_keeps(options.keep)
        self._measure_filter()
        for scale in sorted(set(options.scales), reverse=True):
            self._measure("scaling", scale)
        self._match_scaling()
        for null in options.nulls if setting.texts.task is not None else ():
            self._measure_null(null)

    def pick(self) -> None:
        """Pick a state of each family on dev, and decide between them; without task data nothing is picked."""
        if self.only("tuned").dev is not None:
            for family in ("filter", "scaling"):
                chosen = pick(self.points, family, self.metric, self.setting.options.seed)
                self.picked[family] = self.only("tuned") if chosen is None else chosen
        self.decision = decide(
            self.points,
            self.metric,
            self.setting.options.seed,
            has_forgotten=self.has_forgotten,
            asked=self.asked,
            default=self.setting.default_strength,
        )

    def save(self, folder: Path, overwrite: bool) -> RefinedState:
        """Write what was decided on, as a model or an adapter."""
        started = time.perf_counter()
        assert self.decision is not None, "saved is what was decided on"
        family, strength = self.decision.family, self.decision.strength
        is_filter = family == "filter"
        response = get_response("tikhonov", gamma=strength) if is_filter else "identity"
        factor = strength if family == "scaling" else None
        self.saved = self._refiner.save(self.setting.tuned, folder, [response], overwrite, factor=factor)
        self.seconds["writing"] = time.perf_counter() - started
        self.advance(self.work - self._told, "written")
        return self.saved

    @property
    def metric(self) -> Metric:
        """The metric of the task."""
        return self.setting.measures.metric

    @property
    def has_forgotten(self) -> bool:
        """Whether the held-out texts show that the fine-tune lost anything of its base."""
        mean, low, _ = mean_interval(self.only("tuned").forgotten.per_text, self.setting.options.seed)
        return mean >= LEAST_FORGOTTEN and low > 0

    def only(self, family: Family) -> SweepPoint:
        """Return the point of a family that has one."""
        return next(point for point in self.points if point.family == family)

    def of(self, family: Family) -> list[SweepPoint]:
        """Return the points of a family, in the order of their strengths."""
        return sorted(
            (point for point in self.points if point.family == family), key=lambda point: point.strength
        )

    def _measure_filter(self) -> None:
        """Measure the given strengths, and others where the pick would be at their end."""
        options = self.setting.options
        for strength in sorted({*options.gammas, *([self.asked] if self.asked else [])}):
            self._measure("filter", strength)
        if self.only("tuned").dev is None:
            return
        before = self.only("tuned").forgotten.mean
        for _ in range(options.further):
            points = self.of("filter")
            if not any(map(self._is_as_good, points)):
                self._measure("filter", next_strength(points[0].strength, -1))
            elif self._is_as_good(points[-1]) and points[-1].forgotten.mean > LITTLE * before:
                self._measure("filter", next_strength(points[-1].strength, 1))
            else:
                break
        given = {*options.gammas, self.asked}
        if added := [point.strength for point in self.of("filter") if point.strength not in given]:
            self.remarks.append(
                f"strengths of the filter that were tried beyond {listed(options.gammas)}, as the pick was at their "
                f"end: {listed(added)}"
            )
        points = self.of("filter")
        if self._is_as_good(points[-1]) and points[-1].forgotten.mean > LITTLE * before:
            self.remarks.append(
                f"the strongest filter tried, {points[-1].strength:g}, is as good as the fine-tune on dev: a stronger "
                "one may forget less (--strengths, --further)"
            )

    def _strength_that_keeps(self, keep: float) -> float:
        """Find the weakest filter that keeps a share of the base on held-out text; 0 where the fine-tune does."""
        found = self._refiner.find_strength(self.setting.tuned, keep)
        self.remarks.append(found.remark)
        return found.strength

    def _match_scaling(self) -> None:
        """Measure a factor that forgets as much as the filter's pick, found along the line between its neighbours."""
        if self.only("tuned").dev is None:
            return
        chosen = pick(self.points, "filter", self.metric, self.setting.options.seed)
        if chosen is None:
            return
        wanted = chosen.forgotten.mean
        for _ in range(MATCHINGS):
            front = front_of(self.points, "scaling")
            if min(abs(point.forgotten.mean - wanted) for point in front) <= NEAR * abs(wanted):
                return
            found = around(front, wanted)
            if found is None:
                return
            first, second, share = found
            ends = (first.forgotten.mean, wanted, second.forgotten.mean)
            if min(ends) >= 0:  # what is forgotten grows with about the square of a small factor
                roots = [math.sqrt(place) for place in ends]
                share = (roots[1] - roots[0]) / (roots[2] - roots[0])
            factor = float(f"{first.strength + share * (second.strength - first.strength):.3g}")
            if factor in (first.strength, second.strength):
                return
            self._measure("scaling", factor)

    def _measure_null(self, null: SweepNull) -> None:
        """Measure a null from the middle of the filter's strengths on, until it forgets as little as the filter."""
        filtered = [point.forgotten.mean for point in self.of("filter")]
        median, most = sorted(filtered)[(len(filtered) - 1) // 2], max(filtered)
        gammas = [point.strength for point in self.of("filter")]
        first = gammas[len(gammas) // 2]
        self._measure(null, first)
        if self.only(null).forgotten.mean < most:
            tries = range(self.setting.options.further)
            for _ in tries:
                if self.of(null)[0].forgotten.mean >= most:
                    break
                self._measure(null, next_strength(self.of(null)[0].strength, -1))
        while len(self.of(null)) < NULL_STRENGTHS and (last := self.of(null)[-1]).forgotten.mean > median:
            if len(self.of(null)) > 1 and last.forgotten.mean >= self.of(null)[-2].forgotten.mean:
                break  # on its way back to the base, which had not learned this text
            # Ten times as strong where it is outside the range of the filter, three times inside.
            self._measure(null, next_strength(last.strength, 2 if last.forgotten.mean > most else 1))
        last = self.of(null)[-1]
        if last.forgotten.mean > median:
            self.remarks.append(
                f"the {null} null forgets {last.forgotten.mean:.4f} at strength {last.strength:g}, the last of "
                f"{len(self.of(null))}: more than half of the filter's strengths"
            )

    def _is_as_good(self, point: SweepPoint) -> bool:
        return is_as_good(point, self.only("tuned"), self.metric, self.setting.options.seed)

    @property
    def _refiner(self) -> Refiner:
        return self._refiners["filter"]

    @property
    def _planned(self) -> int:
        """Points that are expected: nulls need about six."""
        options = self.setting.options
        return 2 + len(options.gammas) + len(options.scales) + 1 + 6 * len(options.nulls)

    def _measure(self, family: Family, strength: float) -> None:
        started = time.perf_counter()
        measures = self.setting.measures
        known = next(
            (point for point in self.known if (point.family, point.strength) == (family, strength)), None
        )
        if known is not None and family != "base":  # which the others are measured from
            self.points.append(known)
            self._tell(f"{family} {strength:g}")
            self.on_point(self)
            return
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
        self._tell(f"{family} {strength:g}")
        self.on_point(self)

    def _tell(self, what: str) -> None:
        """Advance so that the time left is that of the points that are left, at the pace of those before."""
        left = max(self._planned - len(self.points), 1)
        pace = sum(point.seconds for point in self.points) / len(self.points)
        gone = time.perf_counter() - self._started
        share = gone / (gone + left * pace)
        step = max(share * self.work - self._told, 0.0)
        self._told += step
        self.advance(step, what)

    def _load(self, family: Family, strength: float) -> float:
        """Put a state into the measured module, weight by weight; return the norm kept."""
        is_scaled = family in ("base", "tuned", "scaling")
        factor = strength if is_scaled else None
        responses = None if is_scaled else [get_response("tikhonov", gamma=strength)]
        if (family == "permuted" or family == "rotated") and family not in self._refiners:
            null = self._refiner.null(family, self.setting.options.seed)
            self._refiners = {"filter": self._refiner, family: null}  # one null in memory
        refiner = self._refiner if is_scaled else self._refiners[family]
        state = dict(self.setting.module.named_parameters(remove_duplicate=False))
        with refiner.opened(self.setting.tuned, responses, factor) as stream, torch.no_grad():
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
            self.skipped |= stream.skipped
            return stream.norm_kept if factor is None else factor


def next_strength(strength: float, steps: int) -> float:
    """Step along 0.01, 0.03, 0.1, 0.3, 1, 3, ... from the strength that is nearest.

    >>> next_strength(0.3, 1), next_strength(0.1, -1), next_strength(1.0, 2)
    (1.0, 0.03, 10.0)
    """
    place = round(2 * math.log10(strength)) + steps
    return float(f"{3 if place % 2 else 1}e{place // 2}")


def listed(strengths: Sequence[float]) -> str:
    """Write strengths in a row."""
    return ", ".join(f"{strength:g}" for strength in strengths)
