"""How soon each method is as good on dev as the plain fine-tune was at its best, in steps and in seconds."""

import math

from paramgraph.display import TableView
from spectral_opt.study.report._overview import Overview, baseline_of
from spectral_opt.study.report._results_table import effect_cells, effects_of
from spectral_opt.study.statistics import Measure

STEPS = Measure("steps_ratio")
SECONDS = Measure("time_ratio", until="target")


def convergence_table(overview: Overview) -> TableView:
    """Put steps and seconds to the target side by side, over those of the plain fine-tune."""
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    for panel, own in overview.shown.items():
        baseline = baseline_of(own)
        if baseline is None:
            continue
        for series in own:
            if (
                series is baseline
                or series.cell.after is not None
                or not series.runs
                or not series.is_trained
            ):
                continue
            steps, seconds = (effects_of(measure, series, baseline) for measure in (STEPS, SECONDS))
            if not steps.values:
                continue
            reached = sum(value < math.inf for value in steps.values.values())
            if series.is_null:
                muted.add(len(rows))
            kinds.append(panel.part)
            counted = f"{reached} of {len(steps.values)}"
            cells = (*effect_cells(steps, series.planned), *effect_cells(seconds, series.planned))
            rows.append((series.name, panel.name, counted, *cells))
    return TableView(
        ("method", "part", "reached", "steps", "95 %", "seconds", "95 %"),
        tuple(rows),
        "To AdamW's best smoothed loss on dev, seed by seed, over what AdamW takes: steps, and seconds of the "
        "processor, graphs counted. A run that never has it is infinitely slow, and counts: the median is shown then",
        muted=frozenset(muted),
        words=frozenset({1}),
        sortable=True,
        kinds=tuple(kinds),
    )
