"""What the records of a study say to its hypotheses: confirmed, refuted or undecided, by one stated rule."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from paramgraph.comparison import holm
from spectral_opt.study.hypotheses import Claim, Hypothesis, read_hypotheses
from spectral_opt.study.plan import Cell, StudyPlan
from spectral_opt.study.records import CellRecord
from spectral_opt.study.statistics import (
    COSTS,
    Kind,
    SeedEffects,
    full_label,
    pooled_effects,
    seed_effects,
)
from spectral_opt.study.store import cell_of

Word = Literal["confirmed", "refuted", "undecided"]
POOLED = "pooled"
# Of the family of hypotheses, after Holm's correction.
ERROR = 0.05


@dataclass(frozen=True)
class Comparison:
    """A method beside a rival on one task, or pooled over tasks: ratios or differences, as `kind` says.

    None is a number that there is not, as no seed or one alone has none; infinite is an end without bound, and an
    estimate where most effects are: of ratios 0 or infinite. `n` of `seeds` have an effect. `center` is the
    median where an effect is infinite; `infinite` has the seeds of which it is, by reason, `left_out` those that
    have no effect. `bootstrap_low` and `bootstrap_high` are BCa's ends over seeds, `items_low` and `items_high`
    those over seeds and texts, of a difference in accuracy. `p` is one-sided against the bound of the claim, `mde`
    the least difference from it, of ratios the least factor, that 80 % of such studies would find. What does not
    decide, tasks where they are pooled or the pool where each task counts, is there to be seen.
    """

    kind: Kind
    score: str
    task: str
    shots: int
    method: str
    rival: str
    verdict: Word
    seeds: int
    n: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    mde: float | None = None
    center: Literal["mean", "median"] = "mean"
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    items_low: float | None = None
    items_high: float | None = None
    infinite: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    left_out: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    decides: bool = True
    shots_of: str = "a class"


@dataclass(frozen=True)
class Verdict:
    """What became of a hypothesis; its numbers are those of the comparison that decides, `by_task` has all.

    `p` is Holm's over all hypotheses of the study, None while cells are missing. `missing` are the keys of cells.
    """

    id: str
    claim: str
    verdict: Word
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None
    mde: float | None
    by_task: tuple[Comparison, ...]
    missing: tuple[str, ...]
    sentence: str


def judge(plan: StudyPlan, records: Iterable[CellRecord]) -> list[Verdict]:
    """Judge each hypothesis of a plan by the records of its cells.

    A comparison is confirmed where its 95 % interval lies wholly on the claimed side, and the estimate is as small
    as claimed; refuted where the interval lies wholly on the other; else undecided, and so it is while a cell is
    missing or fewer than half of the seeds have an effect. By the rule "all", a hypothesis is confirmed where every
    comparison is, and refuted where any is, and its p-value is the largest; by "any" the other way round, with the
    least p-value times the number of comparisons. To be confirmed it also has to hold at .05 after Holm's correction
    over all hypotheses. Two records of one cell: ValueError.
    """
    hypotheses = read_hypotheses(plan)
    by_key = _by_key(records)
    units = {task.name: task.shots_of for task in plan.tasks}
    rows = [_comparisons(hypothesis, by_key, units) for hypothesis in hypotheses]
    raw = [_p_value(hypothesis, own) for hypothesis, own in zip(hypotheses, rows, strict=True)]
    corrected = holm(raw)
    return [_verdict(*told) for told in zip(hypotheses, rows, corrected, strict=True)]


def _by_key(records: Iterable[CellRecord]) -> dict[str, CellRecord]:
    found = dict[str, CellRecord]()
    for record in records:
        if record.stage != "confirmation":
            continue
        key = cell_of(record).key
        if key in found:
            raise ValueError(f"two records of the cell {key}: one run is counted once; remove one of them")
        found[key] = record
    return found


def _comparisons(
    hypothesis: Hypothesis, by_key: Mapping[str, CellRecord], units: Mapping[str, str]
) -> list[Comparison]:
    """Make all comparisons of a hypothesis: of each task, and where there are several, pooled over them."""
    rows = []
    for claim in hypothesis.claims:
        for shots in claim.shots:
            for method in claim.methods:
                for rival in claim.rivals:
                    effects, missing = dict[str, SeedEffects](), dict[str, tuple[str, ...]]()
                    for task in claim.tasks:
                        effects[task], missing[task] = _effects(claim, method, rival, task, shots, by_key)
                    if len(claim.tasks) > 1:
                        effects[POOLED] = pooled_effects(list(effects.values()))
                        missing[POOLED] = tuple(key for keys in missing.values() for key in keys)
                    for task, own in effects.items():
                        row = _compared(claim, method, rival, task, shots, own, missing[task])
                        is_whole = len(claim.tasks) == 1 or (task == POOLED) == (claim.over == "pooled")
                        rows.append(replace(row, decides=is_whole, shots_of=units[claim.tasks[0]]))
    return rows


def _effects(
    claim: Claim, method: Cell, rival: Cell, task: str, shots: int, by_key: Mapping[str, CellRecord]
) -> tuple[SeedEffects, tuple[str, ...]]:
    sides, missing = [], []
    for variant in (method, rival, claim.reference):
        cells = [replace(variant, task=task, shots=shots, seed=seed) for seed in claim.part.seeds]
        sides.append({cell.seed: by_key[cell.key] for cell in cells if cell.key in by_key})
        missing += [cell.key for cell in cells if cell.key not in by_key]
    return seed_effects(claim.measure, *sides), tuple(dict.fromkeys(missing))


def _compared(
    claim: Claim,
    method: Cell,
    rival: Cell,
    task: str,
    shots: int,
    effects: SeedEffects,
    missing: tuple[str, ...],
) -> Comparison:
    measure, seeds = claim.measure, len(claim.part.seeds)
    names = (claim.names[full_label(method)], claim.names[full_label(rival)])
    row = Comparison(
        measure.kind, measure.score, task, shots, *names, "undecided", seeds, len(effects.values)
    )
    row = replace(
        row, infinite=_by_reason(effects.infinite), left_out=_by_reason(effects.left_out), missing=missing
    )
    summary = effects.summary()
    if summary is None:
        return row
    scaled = _shown if measure.is_ratio else float
    low, high = (
        -math.inf if summary.low is None else scaled(summary.low),
        math.inf if summary.high is None else scaled(summary.high),
    )
    estimate = scaled(summary.estimate)
    lower, upper = (
        math.log(bound) if measure.is_ratio and math.isfinite(bound) else bound
        for bound in (claim.lower, claim.upper)
    )
    p_value = max(
        0.0 if math.isinf(lower) else effects.p_value(lower, "above"),
        0.0 if math.isinf(upper) else effects.p_value(upper, "below"),
    )
    word: Word = "undecided"
    most = claim.upper if claim.estimate_at_most is None else claim.estimate_at_most
    is_counted = not missing and 2 * len(effects.values) >= seeds
    if is_counted and claim.lower < low and high < claim.upper and estimate <= most:
        word = "confirmed"
    elif is_counted and (high < claim.lower or low > most):
        word = "refuted"
    return replace(
        row,
        verdict=word,
        estimate=estimate,
        low=None if summary.low is None else low,
        high=None if summary.high is None else high,
        p=p_value,
        mde=None if summary.detectable is None else scaled(summary.detectable),
        center=summary.center,
        bootstrap_low=None if summary.bootstrap_low is None else scaled(summary.bootstrap_low),
        bootstrap_high=None if summary.bootstrap_high is None else scaled(summary.bootstrap_high),
        items_low=None if effects.items is None else effects.items[0],
        items_high=None if effects.items is None else effects.items[1],
    )


def _p_value(hypothesis: Hypothesis, rows: Sequence[Comparison]) -> float:
    values = [
        1.0 if row.p is None or row.missing or 2 * row.n < row.seeds else row.p for row in rows if row.decides
    ]
    return max(values) if hypothesis.rule == "all" else min(1.0, len(values) * min(values))


def _verdict(hypothesis: Hypothesis, rows: Sequence[Comparison], p_value: float) -> Verdict:
    deciding = [row for row in rows if row.decides]
    words = [row.verdict for row in deciding]
    missing = tuple(dict.fromkeys(key for row in deciding for key in row.missing))
    every, some = (all, any) if hypothesis.rule == "all" else (any, all)
    word: Word = "undecided"
    if missing:  # what is left to run is part of what was promised
        pass
    elif every(one == "confirmed" for one in words):
        word = "confirmed" if p_value <= ERROR else "undecided"
    elif some(one == "refuted" for one in words):
        word = "refuted"
    # What decides: of a refutation the comparison that refutes, else the one that is nearest to failing, or to holding.
    hardest = max if hypothesis.rule == "all" else min
    told = hardest(
        [row for row in deciding if word != "refuted" or row.verdict == "refuted"],
        key=lambda row: (row.p is None, row.p or 0.0),
    )
    p_shown = None if missing else p_value
    return Verdict(
        id=hypothesis.id,
        claim=hypothesis.claim,
        verdict=word,
        estimate=told.estimate,
        low=told.low,
        high=told.high,
        n=told.n,
        p=p_shown,
        mde=told.mde,
        by_task=tuple(rows),
        missing=missing,
        sentence=_sentence(hypothesis, word, words, told, missing, p_shown),
    )


_SAID: Mapping[Kind, str] = {
    "lost_ratio": "{method} loses {estimate} times what {rival} loses at equal {score}",
    "lost_difference": "{method} loses {estimate} nats beside {rival} at equal {score}",
    "scaling_ratio": "beside scaling at the own {score}, {method} loses {estimate} times what {rival} does",
    "scaling_difference": "beside scaling at the own {score}, {method} loses {estimate} nats more than {rival}",
    "perturbation_ratio": "{method} moves {estimate} times as far as {rival} at equal {score}",
    "score_difference": "the {score} of {method} is {estimate} beside {rival}",
    "best_scaling_difference": "the {score} of {method} is {estimate} beside the best scaling of {rival}",
    "steps_ratio": "{method} needs {estimate} times the steps of {rival}",
    "time_ratio": "{method} takes {estimate} times the seconds of {rival}",
}


def _sentence(
    hypothesis: Hypothesis,
    word: Word,
    words: Sequence[Word],
    told: Comparison,
    missing: Sequence[str],
    p_value: float | None,
) -> str:
    counts = ", ".join(
        f"{words.count(one)} {one}" for one in ("confirmed", "refuted", "undecided") if one in words
    )
    start = f"{word.capitalize()}: "
    if missing:
        start += f"{len(missing)} cells are missing, the first {missing[0]}; of what there is, "
    elif len(words) > 1:
        start += f"of {len(words)} comparisons {counts}, and {hypothesis.rule} should hold; "
    if word == "undecided" and p_value is not None and p_value > ERROR and "undecided" not in words:
        start += "the intervals do not outlast Holm's correction; "
    claims = "; ".join(dict.fromkeys(claim.told for claim in hypothesis.claims))
    return f"{start}{_told(told)}. Claimed: {claims}."


def _told(row: Comparison) -> str:
    form = ".3g" if row.kind.endswith("_ratio") else "+.3g"
    many = ("infinitely many", "infinitely few")
    better = ("infinitely better", "infinitely worse")
    estimate = _written(row.estimate, form, *(many if row.kind in COSTS else better))
    low = _written(row.low, form, "infinite", "without bound")
    high = _written(row.high, form, "without bound", "infinite")
    said = _SAID[row.kind].format(method=row.method, rival=row.rival, score=row.score, estimate=estimate)
    if row.n == 0:
        said = f"{row.method} has nothing to compare with {row.rival}"
    elif row.low is not None and row.high is not None:
        said += f" [{low}, {high}]"
    reasons = [
        f"{what} of {len(seeds)}: {reason}"
        for what, by_reason in (("infinite", row.infinite), ("left out", row.left_out))
        for reason, seeds in by_reason.items()
    ]
    place = "pooled over tasks" if row.task == POOLED else f"on {row.task}"
    return f"{said} {place} with {row.shots} {row.shots_of} ({'; '.join([f'{row.n} of {row.seeds} seeds', *reasons])})"


def _written(value: float | None, form: str, above: str, below: str) -> str:
    """Write a number, or the word for what lies above or below all of them."""
    if value is None or not math.isinf(value):
        return "nothing" if value is None else format(value, form)
    return above if value > 0 else below


def _by_reason(reasons: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    return {
        reason: tuple(seed for seed, own in reasons.items() if own == reason)
        for reason in dict.fromkeys(reasons.values())
    }


def _shown(logarithm: float) -> float:
    return math.exp(logarithm) if logarithm < 700 else math.inf
