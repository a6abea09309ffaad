"""The main table: what each variant scores, loses and costs, and how it compares with the plain fine-tune."""

import math

import numpy as np

from paramgraph.display import TableView
from spectral_opt.study import CLASSIFICATION, CellRecord, TaskKind
from spectral_opt.study.report._kinds import WORDS
from spectral_opt.study.report._overview import Overview, Series, baseline_of, final_state
from spectral_opt.study.report._words import between, mean_interval, number
from spectral_opt.study.statistics import Measure, SeedEffects, hypervolume, seed_effects, whole_path

# Of a line between two states, for the area below it.
STEPS = 64


def results_tables(overview: Overview) -> list[TableView]:
    """Make a table for each kind of task that there is."""
    kinds = dict.fromkeys(task.kind for task in overview.plan.tasks)
    return [results_table(overview, kind) for kind in kinds]


def results_table(overview: Overview, kind: TaskKind = CLASSIFICATION) -> TableView:
    """Put all variants of all panels of a kind of task into one table; a row's kind is its part."""
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    words = WORDS[kind]
    for panel, own in overview.shown.items():
        for series in own:
            if not series.runs or panel.kind != kind:
                continue
            if series.is_null:
                muted.add(len(rows))
            kinds.append(panel.part)
            rows.append((series.name, f"{panel.task}, {panel.shots}", *_cells(series, own)))
    first, *others = words.metrics.values()
    beside, compared = ("of", "over") if words.lost.is_ratio else ("less", "less")
    return TableView(
        (
            "method",
            f"task, {words.shots_of}",
            "runs",
            first,
            "95 %",
            *others,
            "lost",
            f"{beside} AdamW's at {words.score_name}",
            "95 %",
            "front",
            "drift",
            "s",
        ),
        tuple(rows),
        "Means over seeds of the final states on the texts that score them; 95 % t intervals over seeds. Lost: "
        f"{words.lost_hint}. {beside.capitalize()} AdamW's: what is lost {compared} what scaling AdamW's change loses "
        f"at AdamW's {words.score_name} {words.lost.level:+g}, each on its own scaling curve: "
        f"{'geometric ' * words.lost.is_ratio}mean, or the median where a run never has that {words.score_name} or "
        f"diverged, infinite where most do. Front: area, 1 less what is lost times {words.score_name} above the start, "
        "that the lines between the states on the way from the fine-tune to the start cover. Of several variants of "
        "AdamW the first with most runs is meant; controls are muted",
        muted=frozenset(muted),
        words=frozenset({1}),
        hints=(
            "method, and the filter after it",
            f"task, and training texts, {words.shots_of}",
            "finished of planned seeds",
            "mean over seeds",
            "95 % t interval of the mean over seeds",
            *("area under the ROC curve, mean over seeds" for _ in others),
            words.lost_hint,
            f"lost {compared} lost by scaling AdamW's change at equal {words.score_name}",
            "95 % interval over seeds",
            "hypervolume of the way from the fine-tune to the start, mean over seeds",
            "relative distance that the trained weights moved",
            "seconds of the clock, median",
        ),
        sortable=True,
        kinds=tuple(kinds),
    )


def other_tasks_table(overview: Overview) -> TableView:
    """Put what is left elsewhere beside that of the start: probes on embeddings, an earlier task, losses of texts."""
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    for series in (one for own in overview.shown.values() for one in own if one.finished):
        for kind, told in (("probes", "probe on"), ("earlier", "earlier task"), ("texts", "loss on")):
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
        ("method", "part", "task", "accuracy, or loss", "of the start", "runs"),
        tuple(rows),
        "On other tasks the accuracy of a linear probe on embeddings, or of an earlier task's own head; on other texts "
        "the loss of a token in nats, of which the rise is lost: means over seeds",
        muted=frozenset(muted),
        words=frozenset({1, 2}),
        sortable=True,
        kinds=tuple(kinds),
    )


def effects_of(measure: Measure, series: Series, baseline: Series) -> SeedEffects:
    """Compare a series with the plain fine-tune of its panel, seed by seed."""
    return seed_effects(measure, series.runs, baseline.runs, baseline.runs)


def _cells(series: Series, own: list[Series]) -> list[str]:
    first, *others = series.panel.words.metrics
    mean, low, high = (float(end) for end in mean_interval(series.values(first)))
    cells = [f"{len(series.finished)} of {series.planned}", number(mean), between(low, high)]
    cells += [number(float(mean_interval(series.values(metric))[0])) for metric in (*others, "lost")]
    cells += lost_cells(series, baseline_of(own))
    cells.append(
        number(float(mean_interval([_front(record) for record in series.finished.values()])[0]), ".4f")
    )
    cells.append(number(float(mean_interval(series.values("drift"))[0])))
    seconds = [record.seconds for record in series.finished.values()]
    return [*cells, number(float(np.median(seconds)), ",.0f") if seconds else number(None)]


def effect_cells(found: SeedEffects, planned: int) -> list[str]:
    """Write a difference, or a ratio of which effects are logarithms, by how many seeds if not all, and 95 % ends."""
    summary = found.summary()
    if summary is None:
        return [number(None), number(None)]
    scaled, form = (math.exp, ".2f") if found.measure.is_ratio else (float, "+.3f")
    count = "" if summary.n == planned else f" ({summary.n})"
    # A ratio has no bound below, which is no 0.
    ends = [end if end is None or math.isinf(end) else scaled(end) for end in (summary.low, summary.high)]
    return [number(scaled(summary.estimate), form) + count, between(ends[0], ends[1], form)]


def lost_cells(series: Series, baseline: Series | None, measure: Measure | None = None) -> list[str]:
    """Write what a series loses beside the plain fine-tune at equal score, of how many seeds, and 95 % ends.

    Equal score is that of the panel, the fine-tune's less a level, unless another `measure` is meant.
    """
    if baseline is None or not series.runs:
        return [number(None), number(None)]
    return effect_cells(effects_of(measure or series.panel.words.lost, series, baseline), series.planned)


def _front(record: CellRecord) -> float:
    """Measure the area on the lines between states: how many of them a part has gives none an advantage."""
    score = WORDS[record.kind].score
    lost, scores = whole_path(record, score)
    states = np.arange(len(lost))
    places = np.linspace(0, states[-1], STEPS * states[-1] + 1)
    lost, scores = (np.interp(places, states, own) for own in (lost, scores))
    return hypervolume(1 - lost, scores, float(record.metrics["start"][score]))
