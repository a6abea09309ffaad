"""Hypotheses of a study, in its plan before the runs: a closed table of what can be claimed, read strictly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from paramgraph.errors import UnknownNameError
from spectral_opt.study.method import get_after_training, get_method
from spectral_opt.study.plan import Cell, Part, StudyPlan
from spectral_opt.study.records import CAUSAL_LM, TaskKind
from spectral_opt.study.statistics import (
    RATIOS,
    SCORES,
    Kind,
    Measure,
    Score,
    full_label,
    has_label,
    read_label,
    telling_label,
    tuned_by,
)

Over = Literal["each", "pooled"]
Rule = Literal["all", "any"]
Option = Literal["score", "level", "estimate_at_most", "until", "seconds"]
Direction = Literal["below", "within", "above", "noninferior"]

# What can be claimed of each measure, and what else may be said of it.
KINDS: Mapping[Kind, tuple[tuple[Direction, ...], tuple[Option, ...]]] = {
    "lost_ratio": (("below", "within"), ("score", "level", "estimate_at_most")),
    "lost_difference": (("below",), ("score", "level")),
    "scaling_ratio": (("below", "within"), ("score", "estimate_at_most")),
    "scaling_difference": (("below",), ("score",)),
    "perturbation_ratio": (("below", "within"), ("score", "level", "estimate_at_most")),
    "score_difference": (("above", "noninferior"), ("score",)),
    "best_scaling_difference": (("above", "noninferior"), ("score",)),
    "steps_ratio": (("below", "within"), ("estimate_at_most",)),
    "time_ratio": (("below", "within"), ("estimate_at_most", "until", "seconds")),
}
PLACES = ("kind", "part", "tasks", "shots", "methods", "rivals", "reference", "over")


@dataclass(frozen=True)
class Claim:
    """One claim about each of some methods beside each of some rivals: the effect is between `lower` and `upper`.

    Ends are ratios or differences as they are read, infinite where there is none. With `estimate_at_most` the
    estimate itself is to be as small too. `names` are short ones by full label. "each" task is a comparison of its
    own, or the tasks are "pooled".
    """

    measure: Measure
    part: Part
    tasks: tuple[str, ...]
    shots: tuple[int, ...]
    methods: tuple[Cell, ...]
    rivals: tuple[Cell, ...]
    reference: Cell
    names: Mapping[str, str]
    lower: float
    upper: float
    estimate_at_most: float | None
    over: Over
    told: str


@dataclass(frozen=True)
class Hypothesis:
    """What is claimed in words, the claims that it stands for, and whether all of them have to hold or any."""

    id: str
    claim: str
    rule: Rule
    claims: tuple[Claim, ...]


def read_hypotheses(plan: StudyPlan) -> list[Hypothesis]:
    """Read the hypotheses of a plan, checked against its parts; ValueError names the place and what is allowed.

    Each has "id", "claim", in words, "rule", "all" or "any" of its comparisons, and "tests". A test has a "kind"
    of `KINDS`, one direction of it with its bound, "part", "methods", "rivals" (AdamW alone if not given), and where
    they are not those of the part, "tasks" and "shots". "reference", AdamW, sets the level of the score and the loss
    to be reached. Methods are told as "adamw+product", with options where the part has more than one of that name.
    Only parts of the stage "confirmation" can be claimed about.
    """
    found = [_hypothesis(plan, place, told) for place, told in enumerate(plan.hypotheses, start=1)]
    names = [hypothesis.id for hypothesis in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two hypotheses are called {name!r}; an id is of one")
    return found


def check_hypotheses(plan: StudyPlan) -> None:
    """Raise what is wrong with the hypotheses of a plan, before any work: see `read_hypotheses`."""
    read_hypotheses(plan)


def _hypothesis(plan: StudyPlan, place: int, told: object) -> Hypothesis:
    where = f"hypothesis {place}"
    values = _mapping(told, where)
    where = f"hypothesis {values['id']!r}" if isinstance(values.get("id"), str) else where
    _known_keys(values, ("id", "claim", "rule", "tests"), ("id", "claim", "tests"), where)
    tests = values["tests"]
    if not isinstance(tests, list | tuple) or not tests:
        raise ValueError(f"{where}: tests is a list of at least one, got {tests!r}")
    claims = tuple(_claim(plan, one, f"{where}, test {number}") for number, one in enumerate(tests, start=1))
    return Hypothesis(
        _string(values["id"], f"{where}: id"),
        _string(values["claim"], f"{where}: claim"),
        cast(Rule, _among(values.get("rule", "all"), get_args(Rule), f"{where}: rule")),
        claims,
    )


def _claim(plan: StudyPlan, told: object, where: str) -> Claim:
    values = _mapping(told, where)
    kind = cast(Kind, _among(values.get("kind"), tuple(KINDS), f"{where}: kind"))
    directions, options = KINDS[kind]
    _known_keys(values, (*PLACES, *directions, *options), ("kind", "part", "methods"), where)
    given = [direction for direction in directions if direction in values]
    if len(given) != 1:
        raise ValueError(
            f"{where}: a {kind} has one of {', '.join(directions)}; got {', '.join(given) or 'none'}"
        )
    lower, upper, told_bound = _bounds(kind, given[0], values[given[0]], where)
    most = values.get("estimate_at_most")
    if most is not None:
        most = _number(most, f"{where}: estimate_at_most")
        if given[0] != "below" or not 0 < most <= upper:
            raise ValueError(
                f"{where}: estimate_at_most, {most:g}, is above 0 and at most what the claim is below"
            )
        told_bound += f", and the estimate at most {most:g}"
    part = _part(plan, values["part"], where)
    tasks = tuple(_some(values, "tasks", part.tasks, where))
    measure = _measure(kind, values, _kind_of(plan, tasks, where), where)
    _fits(part, measure, where)
    methods, rivals = (
        tuple(
            _variant(plan, part, label, f"{where}: {name}") for label in _strings(labels, f"{where}: {name}")
        )
        for name, labels in (("methods", values["methods"]), ("rivals", values.get("rivals", ["adamw"])))
    )
    for name, chosen in (("methods", methods), ("rivals", rivals)):
        if len(set(map(full_label, chosen))) < len(chosen):
            raise ValueError(f"{where}: {name} has one of them twice: {', '.join(map(full_label, chosen))}")
    cells = _cells(plan, part)
    if both := set(map(full_label, methods)) & set(map(full_label, rivals)):
        raise ValueError(f"{where}: {', '.join(sorted(both))} is a method and its own rival")
    return Claim(
        measure,
        part,
        tasks,
        tuple(_some(values, "shots", part.shots, where)),
        methods,
        rivals,
        _variant(
            plan,
            part,
            _string(values.get("reference", "adamw"), f"{where}: reference"),
            f"{where}: reference",
        ),
        {full_label(cell): telling_label(cell, cells) for cell in cells},
        lower,
        upper,
        most,
        cast(Over, _among(values.get("over", "each"), get_args(Over), f"{where}: over")),
        told_bound,
    )


def _bounds(kind: Kind, direction: Direction, told: object, where: str) -> tuple[float, float, str]:
    where = f"{where}: {direction}"
    if direction == "within":
        if not isinstance(told, list | tuple) or len(told) != 2:
            raise ValueError(f"{where} has two ends, as [0.9, 1.15], got {told!r}")
        low, high = (_number(end, where) for end in told)
        if not 0 < low < high:
            raise ValueError(f"{where}: of a ratio the ends are above 0, the lower one first; got {told!r}")
        return low, high, f"within {low:g} and {high:g}"
    bound = _number(told, where)
    if direction == "below":
        if bound <= 0 and kind in RATIOS:
            raise ValueError(f"{where}: of a {kind} the bound is above 0, got {bound:g}")
        return -math.inf, bound, f"below {bound:g}"
    if direction == "noninferior":
        if bound <= 0:
            raise ValueError(f"{where} is the margin, above 0, that it may be worse by; got {bound:g}")
        return -bound, math.inf, f"not worse by {bound:g} or more"
    return bound, math.inf, f"above {bound:g}"


def _kind_of(plan: StudyPlan, tasks: Sequence[str], where: str) -> TaskKind:
    kinds = list(dict.fromkeys(task.kind for task in plan.tasks if task.name in tasks))
    if len(kinds) > 1:
        raise ValueError(
            f"{where}: tasks are of the kinds {' and '.join(kinds)}, which have no score in common: name those of one"
        )
    return kinds[0]


def _measure(kind: Kind, values: Mapping[str, Any], task_kind: TaskKind, where: str) -> Measure:
    level = _number(values.get("level", 0.0), f"{where}: level")
    if level > 0:
        raise ValueError(
            f"{where}: level is added to the reference's own score, and is 0 or below; got {level:g}"
        )
    if kind in ("lost_ratio", "scaling_ratio") and task_kind == CAUSAL_LM:
        raise ValueError(
            f"{where}: what a language model loses may be below 0, and has no ratio then: claim a "
            f"{kind.removesuffix('ratio')}difference"
        )
    return Measure(
        kind,
        cast(Score, _among(values.get("score", tuned_by(task_kind)), SCORES[task_kind], f"{where}: score")),
        level,
        cast(
            Literal["end", "target"],
            _among(values.get("until", "end"), ("end", "target"), f"{where}: until"),
        ),
        tuple(
            _among(part, ("preparing", "training", "filter", "measuring"), f"{where}: seconds")
            for part in _strings(
                values.get("seconds", ["preparing", "training", "filter"]), f"{where}: seconds"
            )
        ),
    )


def _part(plan: StudyPlan, name: object, where: str) -> Part:
    parts = {part.name: part for part in plan.parts}
    part = parts[_among(name, tuple(parts), f"{where}: part")]
    if part.stage != "confirmation":
        raise ValueError(
            f"{where}: part {part.name!r} is of the stage {part.stage!r}; claims are about 'confirmation'"
        )
    return part


def _fits(part: Part, measure: Measure, where: str) -> None:
    needs_curve = measure.kind in (
        "lost_ratio",
        "lost_difference",
        "scaling_ratio",
        "scaling_difference",
        "perturbation_ratio",
        "best_scaling_difference",
    )
    if needs_curve and len(part.factors) < 2:
        raise ValueError(
            f"{where}: a {measure.kind} needs scaling curves; give part {part.name!r} more factors than 1"
        )
    needs_dev = measure.kind == "steps_ratio" or measure.until == "target"
    if needs_dev and not part.evaluate_every:
        raise ValueError(
            f"{where}: it needs the loss over the steps; give part {part.name!r} an evaluate_every"
        )


def _variant(plan: StudyPlan, part: Part, label: str, where: str) -> Cell:
    """Find the one variant of a part that a label means, as the cell of the first job."""
    cells = _cells(plan, part)
    found = [cell for cell in cells if has_label(cell, label)]
    if found:
        # One that no method has is not given anywhere, and so would be None without a word.
        for (_, named), known in zip(read_label(label), _known_options(found[0]), strict=True):
            for name in sorted(named.keys() - known):
                raise ValueError(
                    f"{where}: {label!r}: {UnknownNameError.among('option', name, sorted(known))}"
                )
    if not found:
        raise ValueError(
            f"{where}: {UnknownNameError.among(f'method of part {part.name!r}', label, _names(cells))}"
        )
    if len(found) > 1:
        raise ValueError(
            f"{where}: {label!r} is more than one: say which of {'; '.join(map(full_label, found))}"
        )
    return found[0]


def _known_options(cell: Cell) -> list[set[str]]:
    method = {"learning_rate", *get_method(cell.method).options}
    return [method] if cell.after is None else [method, set(get_after_training(cell.after).options)]


def _cells(plan: StudyPlan, part: Part) -> tuple[Cell, ...]:
    """Give the cells of one job of a part: all of its variants, and no other seed or task."""
    one = replace(part, tasks=part.tasks[:1], shots=part.shots[:1], seeds=part.seeds[:1])
    return replace(plan, parts=(one,)).jobs()[0].cells


def _names(cells: Sequence[Cell]) -> list[str]:
    return sorted({full_label(cell) for cell in cells})


def _some(values: Mapping[str, Any], name: str, own: tuple[Any, ...], where: str) -> list[Any]:
    """Take the tasks or shots that are named, each one of the part's; or all of them."""
    chosen = values.get(name, list(own))
    if not isinstance(chosen, list | tuple) or not chosen:
        raise ValueError(f"{where}: {name} is a list, got {chosen!r}")
    for value in chosen:
        if value not in own or isinstance(value, bool):
            raise ValueError(f"{where}: {name} has {value!r}, and the part only {', '.join(map(str, own))}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{where}: {name} has one of them twice: {chosen}")
    return list(chosen)


def _mapping(told: object, where: str) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise TypeError(f"{where} is a mapping of names to values, got {told!r}")
    return told


def _known_keys(values: Mapping[str, Any], allowed: Sequence[str], needed: Sequence[str], where: str) -> None:
    for key in values:
        if key not in allowed:
            raise ValueError(f"{where}: {UnknownNameError.among('key', key, allowed)}")
    if missing := [key for key in needed if key not in values]:
        raise ValueError(f"{where}: {', '.join(missing)} not given")


def _among(value: object, allowed: Sequence[str], where: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{where} is one of {', '.join(allowed)}; got {value!r}")
    return value


def _string(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{where} is text, got {value!r}")
    return value


def _strings(value: object, where: str) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise TypeError(f"{where} is a list of names, got {value!r}")
    names = [_string(one, where) for one in value]
    if len(set(names)) < len(names):
        raise ValueError(f"{where} has a name twice: {', '.join(names)}")
    return names


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{where} is a finite number, got {value!r}")
    return float(value)
