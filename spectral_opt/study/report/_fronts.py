"""The task's score over what was lost: each variant's own scaling curve, one panel a task."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from paramgraph.display import INK, FigureView, new_figure, some_names, themed_svg
from spectral_opt.study.report._marks import Mark, write_names
from spectral_opt.study.report._overview import Overview, Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 5.2, 3.5


def front_figures(
    overview: Overview, marks: Mapping[tuple[str, str], Mark], score: str | None = None
) -> list[FigureView]:
    """Draw a front for each panel with scaled states; where no panel has them, the finished states themselves.

    Without a `score` it is the one at which methods are compared.
    """
    finished = {panel: own for panel, own in overview.shown.items() if any(series.finished for series in own)}
    scaled = {part.name for part in overview.plan.parts if len(part.factors) > 1}
    drawn = {panel: own for panel, own in finished.items() if panel.part in scaled} or finished
    return [
        _front(panel, own, marks, score or panel.words.score, f"front-{place}")
        for place, (panel, own) in enumerate(drawn.items())
    ]


def scaling_curve(series: Series, score: str) -> Float[np.ndarray, "seeds factors 2"]:
    """Give (lost, score) of each seed at each factor that all of them have, and last the start, factor 0."""
    runs = [record.metrics for record in series.finished.values()]
    factors = [{point["factor"]: point for point in run["points"]} for run in runs]
    shared = sorted(set.intersection(*(set(own) for own in factors)), reverse=True) if factors else []
    ways = [
        [(point["lost"], point[score]) for point in (*(own[factor] for factor in shared), run["start"])]
        for run, own in zip(runs, factors, strict=True)
    ]
    return np.array(ways, dtype=float).reshape(len(ways), len(shared) + 1 if ways else 0, 2)


def draw_front(
    axes: "Axes", own: Sequence[Series], marks: Mapping[tuple[str, str], Mark], score: str, height: float
) -> list[str]:
    """Draw a panel's series on axes that are `height` inches high; give the names of those that have no mark."""
    ends, hidden = [], []
    starts: list[Float[np.ndarray, " 2"]] = []
    is_null_named = False
    for series in own:
        ways = scaling_curve(series, score)
        if not len(ways):
            continue
        starts.append(ways[:, -1].mean(axis=0))
        mark = marks.get((series.panel.part, series.name))
        if mark is None:
            hidden += [series.name] if series.is_trained else []
            continue
        _draw(axes, ways, mark)
        x, y = (float(end) for end in ways[:, 0].mean(axis=0))
        if mark.is_named or not is_null_named:
            ends.append((x, y, series.name if mark.is_named else "nulls", mark.colour))
            is_null_named |= not mark.is_named
    start = np.mean(starts, axis=0)
    axes.plot(*start, "s", color=INK, markersize=5, zorder=5)
    axes.margins(0.05, 0.08)
    axes.annotate("start", start, (6, -11), textcoords="offset points", color=INK, fontsize=8.5)
    words = own[0].panel.words
    axes.set_xlabel(words.lost_axis)
    axes.set_ylabel(words.score_axis if score == words.score else f"{score} of the task")
    write_names(axes, ends, height)
    return hidden


def _front(
    panel: Panel, own: list[Series], marks: Mapping[tuple[str, str], Mark], score: str, name: str
) -> FigureView:
    figure = new_figure(WIDTH, HEIGHT)
    hidden = draw_front(figure.axes[0], own, marks, score, 0.8 * HEIGHT)
    remarks = ["Up and to the left is better."]
    if hidden:
        remarks.append(f"In the table alone: {some_names(hidden)}.")
    remarks += [
        f"{series.name}: {len(series.diverged)} of {series.planned} runs diverged, and are not in its line."
        for series in own
        if series.diverged
    ]
    return FigureView(panel.name, themed_svg(figure, name), " ".join(remarks))


def _draw(axes: "Axes", ways: Float[np.ndarray, "seeds factors 2"], mark: Mark) -> None:
    mean = ways.mean(axis=0)
    # With no factor but 1 there is no scaling curve, only the state.
    line = mean if len(mean) > 2 else mean[:1]
    if mark.is_named and len(mean) > 2 and mark.colour == INK:
        for way in ways:
            axes.plot(way[:, 0], way[:, 1], color=mark.colour, alpha=0.15, linewidth=0.7)
    axes.plot(
        line[:, 0],
        line[:, 1],
        mark.style,
        color=mark.colour,
        linewidth=mark.width,
        zorder=3 if mark.is_named else 2,
    )
    axes.plot(*mean[0], "D" if mark.colour == INK else "o", color=mark.colour, markersize=5, zorder=4)
