"""The verdicts of a study's hypotheses, in sentences and as tables."""

from collections.abc import Mapping, Sequence

from paramgraph.display import TableView
from spectral_opt.study import Verdict
from spectral_opt.study.report._words import between, counted, number


def verdict_sentences(verdicts: Sequence[Verdict]) -> list[str]:
    """Say each claim, and what became of it."""
    return [f"{verdict.id}: {verdict.claim.rstrip('.')}. {verdict.sentence}" for verdict in verdicts]


def verdicts_table(verdicts: Sequence[Verdict]) -> TableView:
    """Put estimate, interval and test of each hypothesis beside its claim."""
    rows = [
        (
            verdict.id,
            verdict.verdict,
            number(verdict.estimate),
            between(verdict.low, verdict.high),
            str(verdict.n),
            number(verdict.p, ".2g"),
            number(verdict.mde),
            verdict.claim,
        )
        for verdict in verdicts
    ]
    return TableView(
        ("hypothesis", "verdict", "estimate", "95 %", "n", "p", "detectable", "claim"),
        tuple(rows),
        "Hypotheses, as the plan has them: once a record tests one, none is changed or left out, and others may come. "
        "Numbers are those of the comparison that decides. p: Holm over all hypotheses; detectable: the least effect "
        "beyond the bound, of ratios the least factor, that four of five studies of this size and spread would find, "
        "none of medians. A ratio of steps is 0 where most of the rival's runs never come there",
        words=frozenset({1, 7}),
    )


def comparisons_table(verdicts: Sequence[Verdict]) -> TableView:
    """Put all comparisons of all hypotheses below each other."""
    rows = [
        (
            verdict.id,
            f"{one.method} / {one.rival}",
            f"{one.task}, {one.shots} {one.shots_of}",
            f"{one.kind.replace('_', ' ')}, {one.score}",
            number(one.estimate) + (" (median)" if one.center == "median" else ""),
            between(one.low, one.high),
            between(one.bootstrap_low, one.bootstrap_high),
            between(one.items_low, one.items_high),
            f"{one.n} of {one.seeds}",
            number(one.p, ".2g"),
            number(one.mde),
            one.verdict,
            "; ".join([*_seeds(one.infinite), *_seeds(one.left_out), *_missing(one.missing)]),
        )
        for verdict in verdicts
        for one in verdict.by_task
    ]
    shown = [one for verdict in verdicts for one in verdict.by_task]
    return TableView(
        (
            "hypothesis",
            "method / rival",
            "task",
            "what",
            "estimate",
            "95 %",
            "BCa",
            "seeds and texts",
            "seeds",
            "p",
            "detectable",
            "verdict",
            "remarks",
        ),
        tuple(rows),
        "Each comparison of each hypothesis, with the 95 % interval that decides; beside it that of BCa's bootstrap "
        "over seeds and, of differences in accuracy, that of a bootstrap over seeds and texts; p is one-sided against "
        "the bound of the claim, not corrected; detectable as above; those that do not decide are muted",
        muted=frozenset(place for place, one in enumerate(shown) if not one.decides),
        words=frozenset({1, 2, 3, 11, 12}),
        sortable=True,
        kinds=tuple(verdict.id for verdict in verdicts for _ in verdict.by_task),
    )


def _seeds(reasons: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [f"{reason} ({counted(len(seeds), 'seed')})" for reason, seeds in reasons.items()]


def _missing(keys: tuple[str, ...]) -> list[str]:
    return [f"{len(keys)} missing"] if keys else []
