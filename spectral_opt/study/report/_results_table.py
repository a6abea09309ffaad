"""The main table: what each variant scores, loses and costs, and how it compares with the plain fine-tune."""

import math

import numpy as np

from paramgraph.display import TableView
from spectral_opt.study import CellRecord
from spectral_opt.study.report._overview import Overview, Series, baseline_of, final_state
from spectral_opt.study.report._words import between, mean_interval, number
from spectral_opt.study.statistics import Measure, SeedEffects, hypervolume, seed_effects, whole_path

# In AUC below the plain fine-tune's own, seed by seed.
LEVEL = -0.01
# Of a line between two states, for the area below it.
STEPS = 64
DIFFERENCE = Measure("score_difference", score="auc")
RATIO = Measure("lost_ratio", score="auc", level=LEVEL)


def results_table(overview: Overview) -> TableView:
    """Put all variants of all panels into one table; a row's kind is its part."""
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    for panel, own in overview.shown.items():
        for series in own:
            if not series.runs:
                continue
            if series.is_null:
                muted.add(len(rows))
            kinds.append(panel.part)
            rows.append((series.name, f"{panel.task}, {panel.shots}", *_cells(series, own)))
    return TableView(
        (
            "method",
            "task, a class",
            "runs",
            "accuracy",
            "95 %",
            "AUC",
            "lost",
            "of AdamW's at AUC",
            "95 %",
            "front",
            "drift",
            "s",
        ),
        tuple(rows),
        "Means over seeds of the final states on the texts that score them; 95 % t intervals over seeds. Lost: share "
        "of the 10 nearest neighbours. Of AdamW's: what is lost over what scaling AdamW's change loses at AdamW's AUC "
        f"{LEVEL:+g}, each on its own scaling curve: geometric mean, or the median where a run never has that AUC or "
        "diverged, infinite where most do. Front: area, retention times AUC above the start, that the lines "
        "between the states on the way from the fine-tune to the start cover. Of several variants of AdamW the first "
        "with most runs is meant; controls are muted",
        muted=frozenset(muted),
        words=frozenset({1}),
        hints=(
            "method, and the filter after it",
            "task, and training texts a class",
            "finished of planned seeds",
            "mean over seeds",
            "95 % t interval of the mean over seeds",
            "area under the ROC curve, mean over seeds",
            "share of the 10 nearest neighbours of held-out text that are lost",
            "lost over lost by scaling AdamW's change at equal AUC",
            "95 % interval over seeds",
            "hypervolume of the way from the fine-tune to the start, mean over seeds",
            "relative distance that the trained weights moved",
            "seconds of the clock, median",
        ),
        sortable=True,
        kinds=tuple(kinds),
    )


def other_tasks_table(overview: Overview) -> TableView:
    """Put the accuracy on other tasks beside that of the start: by probes on the embeddings, and on an earlier task."""
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    for series in (one for own in overview.shown.values() for one in own if one.finished):
        for kind, told in (("probes", "probe on"), ("earlier", "earlier task")):
            pairs = [(final_state(record), record.metrics["start"]) for record in series.finished.values()]
            for name in dict.fromkeys(task for state, _ in pairs for task in state.get(kind, {})):
                own = [state[kind][name] for state, _ in pairs if name in state.get(kind, {})]
                before = [start[kind][name] for _, start in pairs if name in start.get(kind, {})]
                if series.is_null:
                    muted.add(len(rows))
                kinds.append(series.panel.part)
                means = [number(float(mean_interval(values)[0])) for values in (own, before)]
                rows.append((series.name, series.panel.name, f"{told} {name}", *means, str(len(own))))
    return TableView(
        ("method", "part", "task", "accuracy", "of the start", "runs"),
        tuple(rows),
        "Accuracy on other tasks: of a linear probe on embeddings, and of an earlier task's own head: means over seeds",
        muted=frozenset(muted),
        words=frozenset({1, 2}),
        sortable=True,
        kinds=tuple(kinds),
    )


def effects_of(measure: Measure, series: Series, baseline: Series) -> SeedEffects:
    """Compare a series with the plain fine-tune of its panel, seed by seed."""
    return seed_effects(measure, series.runs, baseline.runs, baseline.runs)


def _cells(series: Series, own: list[Series]) -> list[str]:
    accuracy, low, high = (float(end) for end in mean_interval(series.values("accuracy")))
    cells = [f"{len(series.finished)} of {series.planned}", number(accuracy), between(low, high)]
    cells += [number(float(mean_interval(series.values(metric))[0])) for metric in ("auc", "lost")]
    cells += lost_ratio_cells(series, baseline_of(own))
    cells.append(
        number(float(mean_interval([_front(record) for record in series.finished.values()])[0]), ".4f")
    )
    cells.append(number(float(mean_interval(series.values("drift"))[0])))
    seconds = [record.seconds for record in series.finished.values()]
    return [*cells, number(float(np.median(seconds)), ",.0f") if seconds else number(None)]


def ratio_cells(found: SeedEffects, planned: int) -> list[str]:
    """Write a ratio of which effects are logarithms, by how many seeds if not all, and its 95 % ends."""
    summary = found.summary()
    if summary is None:
        return [number(None), number(None)]
    shown = "∞" if summary.estimate == math.inf else number(math.exp(summary.estimate), ".2f")
    count = "" if summary.n == planned else f" ({summary.n})"
    ends = [None if end is None or math.isinf(end) else math.exp(end) for end in (summary.low, summary.high)]
    return [shown + count, between(ends[0], ends[1], ".2f")]


def lost_ratio_cells(series: Series, baseline: Series | None) -> list[str]:
    """Write what a series loses over the plain fine-tune at equal AUC, by how many seeds if not all, and 95 % ends."""
    if baseline is None or not series.finished:
        return [number(None), number(None)]
    return ratio_cells(effects_of(RATIO, series, baseline), series.planned)


def _front(record: CellRecord) -> float:
    """Measure the area on the lines between states: how many of them a part has gives none an advantage."""
    lost, scores = whole_path(record, "auc")
    states = np.arange(len(lost))
    places = np.linspace(0, states[-1], STEPS * states[-1] + 1)
    lost, scores = (np.interp(places, states, own) for own in (lost, scores))
    return hypervolume(1 - lost, scores, float(record.metrics["start"]["auc"]))
