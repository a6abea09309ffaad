"""Learning curves: the loss on the development texts over steps and over seconds, with bands over seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from paramgraph.display import FigureView, new_figure, some_names, themed_svg
from spectral_opt.study.report._marks import Mark, write_names
from spectral_opt.study.report._overview import Overview, Panel, Series
from spectral_opt.study.report._words import mean_interval

WIDTH, HEIGHT = 5.2, 3.2
AXES = {"steps": "step", "seconds": "seconds of the processor, graphs counted"}


@dataclass(frozen=True)
class LearningCurve:
    """The mean over seeds at each step at which all looked, and its 95 % interval, NaN with a single seed."""

    steps: Float[np.ndarray, " looks"]
    seconds: Float[np.ndarray, " looks"]
    loss: Float[np.ndarray, " looks"]
    low: Float[np.ndarray, " looks"]
    high: Float[np.ndarray, " looks"]


def learning_figures(overview: Overview, marks: Mapping[tuple[str, str], Mark]) -> list[FigureView]:
    """Draw each panel whose runs looked at the development texts, over steps and over seconds.

    A line alone compares nothing: it is drawn where the study has one panel only.
    """
    drawn = []
    for place, (panel, own) in enumerate(overview.shown.items()):
        curves = {series.name: curve for series in own if (curve := learning_curve(series)) is not None}
        shown = {name: curve for name, curve in curves.items() if (panel.part, name) in marks}
        if len(shown) > 1 or (shown and len(overview.shown) == 1):
            hidden = [name for name in curves if name not in shown]
            for over in ("steps", "seconds"):
                drawn.append(_figure(panel, own, shown, hidden, marks, over, f"learning-{over}-{place}"))
    return drawn


def learning_curve(series: Series) -> LearningCurve | None:
    """Average the runs of a series; None where none of them looked at the development texts twice."""
    if series.cell.after is not None:
        return None
    looked = [
        (record.metrics["curve"], record.cpu_seconds.get("preparing", 0.0))
        for record in series.finished.values()
        if len(record.metrics.get("curve", {}).get("dev_step", ())) > 1
    ]
    if not looked:
        return None
    shared = sorted(set.intersection(*(set(curve["dev_step"]) for curve, _ in looked)))
    losses, seconds = [], []
    for curve, preparing in looked:
        places = [curve["dev_step"].index(step) for step in shared]
        losses.append([curve["dev_loss"][place] for place in places])
        seconds.append([curve["dev_cpu_seconds"][place] + preparing for place in places])
    return LearningCurve(np.array(shared, dtype=float), np.mean(seconds, axis=0), *mean_interval(losses))


def _figure(
    panel: Panel,
    own: list[Series],
    curves: Mapping[str, LearningCurve],
    hidden: list[str],
    marks: Mapping[tuple[str, str], Mark],
    over: Literal["steps", "seconds"],
    name: str,
) -> FigureView:
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.axes[0]
    ends = []
    for title, curve in curves.items():
        mark = marks[panel.part, title]
        x = getattr(curve, over)
        axes.plot(x, curve.loss, mark.style, color=mark.colour, linewidth=mark.width, zorder=3)
        if mark.is_named:
            # A band of nothing, where there is one seed, is not drawn.
            axes.fill_between(x, curve.low, curve.high, color=mark.colour, alpha=0.15, linewidth=0)
            ends.append((float(x[-1]), float(curve.loss[-1]), title, mark.colour))
    nulls = [title for title in curves if not marks[panel.part, title].is_named]
    if nulls:
        curve = curves[nulls[0]]
        ends.append(
            (
                float(getattr(curve, over)[-1]),
                float(curve.loss[-1]),
                "nulls",
                marks[panel.part, nulls[0]].colour,
            )
        )
    axes.set_xlabel(AXES[over])
    axes.set_ylabel("loss on dev, nats")
    axes.margins(0.02, 0.05)
    write_names(axes, ends, 0.8 * HEIGHT)
    seeds = sorted({len(series.finished) for series in own if series.name in curves})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    remarks = [f"Mean and 95 % interval over {count} seeds." if seeds[-1] > 1 else "One seed."]
    ended = [series.name for series in own if series.name in curves and series.diverged]
    if ended:
        remarks.append(f"Without the runs that diverged, of {some_names(ended)}.")
    if hidden:
        remarks.append(f"Not drawn: {some_names(hidden)}.")
    return FigureView(f"{panel.name}: loss over {over}", themed_svg(figure, name), " ".join(remarks))
