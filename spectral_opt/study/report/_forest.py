"""Forest plots: what each variant does beside the plain fine-tune, paired by seed, with its 95 % interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paramgraph.display import GRID, INK, FigureView, new_figure, some_names, themed_svg
from spectral_opt.study.report._marks import GREY, Mark
from spectral_opt.study.report._overview import Overview, Panel, Series, baseline_of
from spectral_opt.study.report._results_table import effects_of
from spectral_opt.study.statistics import Measure, PairedSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More of them do not read as one figure; the others are in the table.
ROWS = 16


@dataclass(frozen=True)
class _Row:
    name: str
    colour: str
    effects: tuple[PairedSummary | None, PairedSummary | None]


def forest_figures(overview: Overview, marks: Mapping[tuple[str, str], Mark]) -> list[FigureView]:
    """Draw each panel in which something can be compared with the plain fine-tune."""
    drawn = []
    for place, (panel, own) in enumerate(overview.shown.items()):
        baseline = baseline_of(own)
        if baseline is None or not baseline.runs:
            continue
        others = [one for one in own if one.runs and one is not baseline and one.is_trained]
        # Those that are drawn elsewhere too come first, each with its colour; the rest is told.
        shown = sorted(others, key=lambda one: (panel.part, one.name) not in marks)[:ROWS]
        rows = [
            _row(series, baseline, marks.get((panel.part, series.name)))
            for series in others
            if series in shown
        ]
        rows = [row for row in rows if any(effect is not None for effect in row.effects)]
        if rows:
            drawn.append(
                _figure(panel, baseline, rows, [one.name for one in others if one not in shown], place)
            )
    return drawn


def _row(series: Series, baseline: Series, mark: Mark | None) -> _Row:
    def summary(measure: Measure) -> PairedSummary | None:
        return effects_of(measure, series, baseline).summary()

    colour = GREY if series.is_null else mark.colour if mark else INK
    words = series.panel.words
    return _Row(series.name, colour, (summary(words.difference), summary(words.lost)))


def _figure(panel: Panel, baseline: Series, rows: list[_Row], hidden: list[str], place: int) -> FigureView:
    narrow, wide = (_draw(rows, panel, f"forest{name}-{place}", is_wide=bool(name)) for name in ("", "-wide"))
    seeds = sorted({effect.n for row in rows for effect in row.effects if effect is not None})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    remarks = [
        f"Each beside {baseline.name}, paired by seed ({count} seeds): "
        "mean and 95 % t interval, of ratios of their logarithm; a square is the median, where a run never has the "
        "score or diverged; dotted: no bound, or one beyond the figure, as an arrow is an estimate. Grey: controls."
    ]
    if hidden:
        remarks.append(f"In the table alone: {some_names(hidden)}.")
    return FigureView(panel.name, narrow, " ".join(remarks), wide_svg=wide)


def _draw(rows: list[_Row], panel: Panel, name: str, *, is_wide: bool) -> str:
    words = panel.words
    ratio = words.lost.is_ratio
    titles = (
        (f"{words.score_name}, difference", 0.0),
        (f"lost at {words.score_name} {words.lost.level:+g}, {words.beside}", 1.0 if ratio else 0.0),
    )
    height = 0.8 + 0.24 * len(rows)
    figure = new_figure(9.4, height, columns=2) if is_wide else new_figure(5.2, 2 * height, rows=2)
    for column, (axes, (title, nothing)) in enumerate(zip(figure.axes, titles, strict=True)):
        axes.axvline(nothing, color=INK, linewidth=0.8)
        axes.grid(visible=False, axis="y")
        is_ratio = column == 1 and ratio
        (_ratio_axis if is_ratio else _difference_axis)(axes, _finite_ends(rows, column))
        for at, row in enumerate(rows):
            effect = row.effects[column]
            if effect is not None:
                _interval(axes, at, row.colour, effect, is_ratio=is_ratio)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        names = [row.name for row in rows]
        axes.set_yticks(range(len(rows)), names if column == 0 or not is_wide else [""] * len(rows))
        for label, row in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(row.colour)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(title)
    return themed_svg(figure, name)


def _finite_ends(rows: list[_Row], column: int) -> list[float]:
    found = [effect for row in rows if (effect := row.effects[column]) is not None]
    ends = [one for effect in found for one in (effect.estimate, effect.low, effect.high) if one is not None]
    return [end for end in ends if math.isfinite(end)]


def _difference_axis(axes: "Axes", ends: list[float]) -> None:
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    margin = 0.05 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)


def _ratio_axis(axes: "Axes", ends: list[float]) -> None:
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

    known = list(map(math.exp, ends))
    axes.set_xscale("log")
    low = max(0.05, 0.9 * min([*known, 1.0]))
    high = min(20.0, 1.1 * max([*known, 1.0]))
    axes.set_xlim(low, high)
    few, many = (
        (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0),
        (0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0),
    )
    ticks = [tick for tick in (few if high > 8 * low else many) if low <= tick <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.grid(visible=True, axis="x", color=GRID)


def _interval(axes: "Axes", at: int, colour: str, effect: PairedSummary, *, is_ratio: bool) -> None:
    def shown(value: float) -> float:
        return math.exp(value) if is_ratio else value

    left, right = axes.get_xlim()
    low, high = (
        edge if end is None else min(max(shown(end), left), right)
        for end, edge in ((effect.low, left), (effect.high, right))
    )
    if effect.n > 1 and low < high:
        # An end without bound, or beyond the figure, runs out of it, thin.
        is_open = low == left or high == right
        axes.plot(
            [low, high],
            [at, at],
            color=colour,
            linewidth=0.7 if is_open else 1.8,
            linestyle=":" if is_open else "-",
            solid_capstyle="butt",
        )
    estimate = shown(effect.estimate)
    if left <= estimate <= right:
        axes.plot(estimate, at, "s" if effect.center == "median" else "o", color=colour, markersize=5)
    else:
        # Beyond the ends: infinite, or a ratio that no axis has room for.
        edge, marker = (left, "<") if estimate < left else (right, ">")
        axes.plot(edge, at, marker, color=colour, markersize=6, clip_on=False)
