"""Which series of a part are drawn in colour, in which, and their names beside the ends of their lines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import isotonic_regression

from paramgraph.display import INK, PALETTE
from spectral_opt.study.report._overview import Overview, Series, baseline_of
from spectral_opt.study.statistics import has_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Beside the baseline, which has the colour of the text. Grey is that of nulls.
HIGHLIGHTED = 6
GREY = PALETTE[6]
COLOURS = tuple(colour for colour in PALETTE if colour != GREY)
# Of a line of a name, in points.
LINE = 11.0


@dataclass(frozen=True)
class Mark:
    """How a series is drawn: in a colour, and with its name or without."""

    colour: str
    is_named: bool
    style: str = "-"
    width: float = 1.8


def marks_of_parts(overview: Overview) -> dict[tuple[str, str], Mark]:
    """Choose, for each part and name of a series, how it is drawn; what is not in it is told in tables alone.

    In colour are those that a hypothesis names, then those that come first in the plan: what a run found has no say in
    it. A name keeps its colour from part to part where no other has it.
    """
    named = list(_words(overview.plan.hypotheses))
    chosen: dict[str, list[Series]] = {}
    for panel, own in overview.shown.items():
        known = {series.name for series in chosen.get(panel.part, [])}
        chosen.setdefault(panel.part, []).extend(series for series in own if series.name not in known)
    kept: dict[str, str] = {}
    found: dict[tuple[str, str], Mark] = {}
    for part, own in chosen.items():
        order = sorted(own, key=lambda one: next(iter(_meant(one, named)), len(named)))
        free, baseline = list(COLOURS), baseline_of(own)
        coloured = [one for one in order if not one.is_null and one is not baseline and one.is_trained]
        for series in sorted(coloured[:HIGHLIGHTED], key=lambda one: one.name not in kept):
            colour = kept.get(series.name, "")
            if colour not in free:
                colour = next((one for one in free if one not in kept.values()), free[0])
            free.remove(colour)
            kept.setdefault(series.name, colour)
            found[part, series.name] = Mark(colour, is_named=True)
        for series in own:
            if series is baseline:
                found[part, series.name] = Mark(INK, is_named=True, width=2.2)
            elif series.is_null:
                found[part, series.name] = Mark(GREY, is_named=False, style="--", width=1.1)
    return found


def write_names(axes: "Axes", ends: Sequence[tuple[float, float, str, str]], height: float) -> None:
    r"""Write names (x, y, name, colour) right of the axes, `height` inches high, each as near to its y as room is.

    .. math:: \min_p \sum_i (p_i - y_i)^2 \quad \text{such that} \quad p_{i+1} - p_i \ge \text{a line}
    """
    if not ends:
        return
    order = sorted(ends, key=lambda end: end[1])
    low, high = axes.get_ylim()
    gap = min(LINE / (72 * height), 1 / max(len(order) - 1, 1))
    steps = gap * np.arange(len(order))
    wanted = np.array([(y - low) / (high - low) for _, y, _, _ in order])
    # Clipped, the solution of an isotonic regression is that between bounds: nothing leaves the axes.
    places = np.clip(isotonic_regression(wanted - steps).x, 0, 1 - steps[-1]) + steps
    for (x, y, name, colour), place in zip(order, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.03, place),
            textcoords=("axes fraction", "axes fraction"),
            xycoords="data",
            va="center",
            color=colour,
            fontsize=8.5,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "alpha": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def _meant(series: Series, named: Sequence[str]) -> Iterable[int]:
    return (place for place, label in enumerate(named) if has_label(series.cell, label))


def _words(value: Any) -> Iterable[str]:  # Any: what YAML has
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _words(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _words(one)
