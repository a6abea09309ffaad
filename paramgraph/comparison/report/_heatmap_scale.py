"""Steps of colour of a heat map, in which what chance gives has none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from paramgraph.comparison.report.values import is_number
from paramgraph.display import PALETTE

ABOVE, BELOW = PALETTE[0], PALETTE[1]
# A z-score below 2 in size is what chance gives often; beyond, what matters is the order of magnitude.
Z_STEPS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
# What each column is without any structure: uncoloured in the heat map.
NEUTRAL = {"lift_low": 1.0, "gain": 1.0}


@dataclass(frozen=True)
class Scale:
    """Steps of colour: none about what chance gives, blue above it, orange below."""

    edges: list[float]
    neutral: float
    ticks: list[float]
    low: float = -math.inf
    high: float = math.inf

    def colours(self) -> list[tuple[float, float, float, float]]:
        """Give a colour for each step; the nearer to `neutral` the more of the page shows through."""
        from matplotlib.colors import to_rgba

        steps = list(pairwise(self.edges))
        above = [step for step in steps if step[0] >= self.neutral]
        below = [step for step in reversed(steps) if step[1] <= self.neutral]
        most = max(len(above), len(below))
        found = {step: to_rgba(ABOVE, 0.0) for step in steps}
        for colour, side in ((ABOVE, above), (BELOW, below)):
            for rank, step in enumerate(side):
                found[step] = to_rgba(colour, 0.14 + 0.86 * (rank + 0.5) / (most + 0.5))
        return list(found.values())

    def labels(self) -> list[str]:
        """Name the ticks, and at either end what lies beyond, which has the colour of the last step."""
        texts = [f"{tick:g}" for tick in self.ticks]
        if self.low < self.edges[0]:
            texts[0] = f"≤ {texts[0]}"
        if self.high > self.edges[-1]:
            texts[-1] = f"≥ {texts[-1]}"
        return texts


def heatmap_scale(result: Mapping[str, Any], column: str, values: Sequence[float]) -> Scale:
    """Choose the steps of colour for a column.

    Parameters
    ----------
    result : mapping
        A comparison as plain data.
    column : str
        A number that cells have.
    values : sequence of float
        The finite ones that are drawn.

    Returns
    -------
    Scale
        Of a z-score the steps are fixed. Where chance gives some other value, steps are equal, one is about that value,
        and they cover 95 % of the values: one layer without any signal may have a lift of -100. Otherwise they are
        round numbers, blue from the lowest on.

    Examples
    --------
    >>> heatmap_scale({"setting": {"share": 0.2}, "cells": []}, "z_score", [7.0, -1.0]).edges
    [-2.0, 2.0, 5.0, 10.0]
    >>> heatmap_scale({"setting": {"share": 0.2}, "cells": []}, "compaction", [0.22, 0.6]).ticks
    [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6]
    """
    from matplotlib.ticker import MaxNLocator

    low, high = min(values), max(values)
    if column.startswith("z_"):
        beyond = [sum(step < end for step in Z_STEPS[:-1]) for end in (-low, high)]
        edges = [-step for step in reversed(Z_STEPS[: beyond[0] + 1])] + list(Z_STEPS[: beyond[1] + 1])
        return Scale(edges, 0.0, edges, low, high)
    neutral = _neutral_value(result, column)
    if neutral is None:
        found = MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high if high > low else low + 1)
        edges = [float(edge) for edge in found]
        return Scale(edges, edges[0], edges)
    ends = np.quantile([*values, neutral], [0.025, 0.975])
    first, last = min(float(ends[0]), neutral), max(float(ends[1]), neutral)
    # At most twelve steps: more are not told apart.
    locator = MaxNLocator(12, steps=[1, 2, 2.5, 5, 10])
    step = float(np.diff(locator.tick_values(first, last if last > first else first + 1))[0])
    # The step about the neutral value has a round number in its middle, at most a quarter of a step away.
    middle = round(neutral / step * 2) / 2 * step
    ranks = range(-round((middle - first) / step), round((last - middle) / step) + 1)
    edges = [round(middle + (rank - 0.5) * step, 10) for rank in (*ranks, ranks[-1] + 1)]
    return Scale(edges, neutral, [round(middle + rank * step, 10) for rank in ranks], low, high)


def _neutral_value(result: Mapping[str, Any], column: str) -> float | None:
    if column != "compaction":
        return NEUTRAL.get(column)
    nulls = [cell.get("compaction_permuted") for cell in result["cells"]]
    there = [null for null in nulls if is_number(null)]
    return round(float(np.median(there)), 2) if there else result["setting"].get("share", 0.2)
