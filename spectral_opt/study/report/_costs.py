"""What runs cost, how steady they are, what they change by band of the spectrum, and how their options were chosen."""

import numpy as np

from paramgraph.display import TableView
from spectral_opt.study import Value
from spectral_opt.study.report._overview import Overview, Series, options_text
from spectral_opt.study.report._words import mean_interval, number
from spectral_opt.study.statistics import full_label

# Parts of a run's seconds of the processor; all but measuring are what a user pays.
SPENT = ("preparing", "training", "filter", "measuring")
BANDS = ("low", "2", "3", "4", "high")


def cost_table(overview: Overview) -> TableView:
    """Put seconds and memory side by side, graphs apart."""
    rows = []
    for series in _finished(overview):
        records = list(series.finished.values())
        spent = [[record.cpu_seconds.get(part, 0.0) for record in records] for part in SPENT]
        memory = [record.peak_megabytes for record in records if record.peak_megabytes is not None]
        cells = [number(float(np.median([record.seconds for record in records])), ",.1f")]
        cells += [number(float(np.median(values)), ",.1f") for values in spent]
        cells.append(number(float(np.max(memory)), ",.0f") if memory else number(None))
        rows.append((series.name, series.panel.name, *cells))
    return TableView(
        ("method", "part", "seconds", "graphs", "training", "filter", "measuring", "MB"),
        tuple(rows),
        "Cost: median seconds of the clock; of the processor for graphs and calibration, training, a filter and "
        "measuring. A filter's seconds come on top of the fine-tune before it. MB: the process's peak until then, the "
        "largest of all runs",
        muted=_muted(overview),
        words=frozenset({1}),
        sortable=True,
        kinds=tuple(series.panel.part for series in _finished(overview)),
    )


def bands_table(overview: Overview) -> TableView | None:
    """Put the change's energy by fifth of the spectrum side by side; None where no record has it."""
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    for series in _finished(overview):
        shares = [
            record.metrics["bands"] for record in series.finished.values() if record.metrics.get("bands")
        ]
        if not shares:
            continue
        if series.is_null:
            muted.add(len(rows))
        kinds.append(series.panel.part)
        rows.append(
            (series.name, series.panel.name, *(number(float(one)) for one in mean_interval(shares)[0]))
        )
    if not rows:
        return None
    return TableView(
        ("method", "part", *BANDS),
        tuple(rows),
        "Perturbation by frequency: share of the change's energy in each fifth of the spectrum of the preserved text's "
        "column graphs, mean over seeds. Low frequencies are the strong modes, on which preserved text depends",
        muted=frozenset(muted),
        words=frozenset({1}),
        sortable=True,
        kinds=tuple(kinds),
    )


def budget_table(overview: Overview) -> TableView | None:
    """Show how many runs each method had for its tuning, its best variant there, and what is confirmed."""
    tried: dict[str, list[Series]] = {}
    for own in overview.tuning.values():
        for series in own:
            tried.setdefault(series.kind, []).append(series)
    if not tried:
        return None
    used: dict[str, list[str]] = {}
    for own in overview.series.values():
        for series in own:
            if series.panel.stage != "tuning":
                told = options_text(_without_null(series)) or "none"
                used.setdefault(series.kind, []).append(told)
    rows, muted = list[tuple[str, ...]](), set[int]()
    for label, own in tried.items():
        if own[0].is_null:
            muted.add(len(rows))
        variants = len({full_label(series.cell) for series in own})
        planned, done = sum(series.planned for series in own), sum(len(series.runs) for series in own)
        best = best_variant(own)
        rows.append(
            (
                label,
                str(variants),
                f"{done:,} of {planned:,}",
                number(best[1]) if best else number(None),
                best[0] if best else number(None),
                "; ".join(dict.fromkeys(used.get(label, ["not in another stage"]))),
            )
        )
    return TableView(
        ("method", "variants", "runs", "best accuracy", "with", "options in other stages"),
        tuple(rows),
        "Tuning: variants are the budget of a method; best accuracy: mean over the tuning runs, on dev texts",
        muted=frozenset(muted),
        words=frozenset({4, 5}),
        sortable=True,
    )


def best_variant(tried: list[Series]) -> tuple[str, float] | None:
    """Find the options with the best mean accuracy over all tuning runs of a method."""
    by_options: dict[str, list[float]] = {}
    for series in tried:
        told = options_text(_without_null(series)) or "none"
        by_options.setdefault(told, []).extend(series.values("accuracy"))
    means = {told: float(np.mean(values)) for told, values in by_options.items() if values}
    return max(means.items(), key=lambda one: one[1]) if means else None


def _without_null(series: Series) -> dict[str, Value]:
    return {name: value for name, value in series.options.items() if name != "null"}


def _finished(overview: Overview) -> list[Series]:
    return [series for own in overview.shown.values() for series in own if series.finished]


def _muted(overview: Overview) -> frozenset[int]:
    return frozenset(place for place, series in enumerate(_finished(overview)) if series.is_null)
