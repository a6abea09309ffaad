"""How steady a method is: its spread over seeds, runs that diverged, spikes of the loss, and three times its rate."""

import math

import numpy as np

from paramgraph.display import TableView
from spectral_opt.study.report._overview import Overview, Series, baseline_of, final_state
from spectral_opt.study.report._words import between, number
from spectral_opt.study.statistics import compare_spreads, loss_spikes, rate_sensitivity, spread


def stability_table(overview: Overview) -> TableView:
    """Put spread and accidents of trained methods side by side."""
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    for panel, own in overview.shown.items():
        for series in own:
            if series.cell.after is not None or not series.runs or not series.is_trained:
                continue
            if series.is_null:
                muted.add(len(rows))
            kinds.append(panel.part)
            rows.append((series.name, panel.name, *_cells(series, baseline_of(own))))
    return TableView(
        (
            "method",
            "part",
            "sd of score",
            "95 %",
            "of AdamW's",
            "p",
            "sd of lost",
            "spikes a run",
            "diverged",
        ),
        tuple(rows),
        "Stability: standard deviations over seeds of accuracy, or of a token's loss (texts and start differ, too), "
        "with 95 % ends by the chi-square distribution, and over AdamW's on the seeds of both, with the p-value of "
        "Pitman and Morgan; spikes: steps whose loss is above twice the median of the 25 before, and above .1",
        muted=frozenset(muted),
        words=frozenset({1}),
        sortable=True,
        kinds=tuple(kinds),
    )


def rate_table(overview: Overview) -> TableView:
    """Put what each method loses at three times a rate side by side, where a part has both."""
    rows, units = [], {task.name: task.shots_of for task in overview.plan.tasks}
    for one in rate_sensitivity(overview.records.values()):
        summary = one.effects.summary()
        if summary is None:
            continue
        shown = "infinitely worse" if summary.estimate == -math.inf else number(summary.estimate)
        rows.append(
            (
                one.label,
                f"{one.part}: {one.task}, {one.shots} {units[one.task]}",
                f"{one.learning_rate:g}",
                shown,
                between(summary.low, summary.high),
                str(summary.n),
            )
        )
    return TableView(
        ("method", "part", "rate", "at 3 x", "95 %", "seeds"),
        tuple(rows),
        "Three times the rate: the difference in accuracy, or log-likelihood, paired by seed; a run that diverged is "
        "infinitely worse",
        words=frozenset({1}),
        sortable=True,
    )


def _cells(series: Series, baseline: Series | None) -> list[str]:
    scores, lost = series.values(_metric(series)), series.values("lost")
    sd, low, high = spread(scores) if len(scores) > 1 else (None, None, None)
    losses = [record.metrics.get("curve", {}).get("losses", ()) for record in series.finished.values()]
    return [
        number(sd),
        between(low, high),
        *_beside(series, baseline),
        number(float(np.std(lost, ddof=1)) if len(lost) > 1 else None),
        number(float(np.mean([loss_spikes(one) for one in losses])) if losses else None, ".2f"),
        f"{len(series.diverged)} of {len(series.runs)}",
    ]


def _metric(series: Series) -> str:
    return next(iter(series.panel.words.metrics))


def _beside(series: Series, baseline: Series | None) -> list[str]:
    """Write the spread over the plain fine-tune's on the seeds of both, and its p-value; of three seeds at least."""
    shared = (
        [] if baseline is None or series is baseline else sorted(series.finished.keys() & baseline.finished)
    )
    if baseline is None or len(shared) < 3:
        return [number(None), number(None)]
    own, rival = (
        [float(final_state(one.finished[seed])[_metric(series)]) for seed in shared]
        for one in (series, baseline)
    )
    ratio, p_value = compare_spreads(own, rival)
    return [number(ratio, ".2f"), number(p_value, ".2g")]
