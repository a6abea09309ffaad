"""How steady a method is: its spread over seeds, runs that diverged, spikes of the loss, and a rate too large."""

import numpy as np

from paramgraph.display import TableView
from spectral_opt.study.report._overview import Overview, Series
from spectral_opt.study.report._words import number


def stability_table(overview: Overview) -> TableView:
    """Put spread and accidents of trained methods side by side."""
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    for panel, own in overview.shown.items():
        for series in own:
            if series.cell.after is not None or not series.runs:
                continue
            if series.is_null:
                muted.add(len(rows))
            kinds.append(panel.part)
            rows.append((series.name, panel.name, *_cells(series)))
    return TableView(
        ("method", "part", "sd of accuracy", "sd of lost", "diverged"),
        tuple(rows),
        "Stability: standard deviations over seeds (of the sample of texts, too)",
        muted=frozenset(muted),
        words=frozenset({1}),
        sortable=True,
        kinds=tuple(kinds),
    )


def _cells(series: Series) -> list[str]:
    cells = []
    for metric in ("accuracy", "lost"):
        values = series.values(metric)
        cells.append(number(float(np.std(values, ddof=1)) if len(values) > 1 else None))
    return [*cells, f"{len(series.diverged)} of {len(series.runs)}"]
