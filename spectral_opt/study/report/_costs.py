"""What runs cost, and what they change by band of the spectrum."""

import numpy as np

from paramgraph.display import TableView
from spectral_opt.study.report._overview import Overview, Series
from spectral_opt.study.report._words import mean_interval, number

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
        "measuring; what cells of a seed share, as graphs, is counted for the first that needs it. A filter's seconds "
        "come on top of the fine-tune before it. MB: the process's peak until then, the largest of all runs",
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


def _finished(overview: Overview) -> list[Series]:
    return [series for own in overview.shown.values() for series in own if series.finished]


def _muted(overview: Overview) -> frozenset[int]:
    return frozenset(place for place, series in enumerate(_finished(overview)) if series.is_null)
