"""One state of the model, measured, and the front that the states of a family make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spectral_opt.sweep._measures import Forgotten
from spectral_opt.sweep._metrics import TaskResult

# What is done to the delta: all of it taken back, nothing, the filter, its nulls, a factor.
Family = Literal["base", "tuned", "filter", "scaling", "permuted", "rotated"]


@dataclass(frozen=True)
class SweepPoint:
    """One state of the model, measured.

    `strength` is the filter's gamma or the factor; `norm_kept` the norm of what is left of the delta over
    that of the delta; `dev` the task on the texts that pick, `test` on those that report.
    """

    family: Family
    strength: float
    norm_kept: float
    forgotten: Forgotten
    dev: TaskResult | None
    test: TaskResult | None
    seconds: float


def front_of(points: Sequence[SweepPoint], family: str) -> list[SweepPoint]:
    """Return base, states of a family, and fine-tune in the order of what they forgot."""
    front = [point for point in points if point.family in ("base", "tuned", family)]
    return sorted(front, key=lambda point: point.forgotten.mean)


def around(front: Sequence[SweepPoint], place: float) -> tuple[SweepPoint, SweepPoint, float] | None:
    """Return the two states between which as much is forgotten, and the weight of the second; None outside."""
    places = [point.forgotten.mean for point in front]
    if len(front) < 2 or not places[0] <= place <= places[-1]:
        return None
    after = min(max(int(np.searchsorted(places, place)), 1), len(front) - 1)
    width = places[after] - places[after - 1]
    return front[after - 1], front[after], (place - places[after - 1]) / width if width > 0 else 1.0
