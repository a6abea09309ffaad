"""One state of the model, measured, and the front that the states of a family make."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
    """Return the way of a family from the fine-tune over its states to the base."""
    own = [point for point in points if point.family == family]
    # A factor is what is kept, a gamma what is taken back.
    own.sort(key=lambda point: point.strength, reverse=family == "scaling")
    ends = {point.family: point for point in points if point.family in ("base", "tuned")}
    return [ends["tuned"], *own, ends["base"]]


def around(front: Sequence[SweepPoint], place: float) -> tuple[SweepPoint, SweepPoint, float] | None:
    """Return the two states between which as much is forgotten, and the weight of the second; None where none do.

    Where the way comes by twice, as of a language model that gets better before it is the base again, it is the pair
    that is nearer to the fine-tune, which does the task better.
    """
    for first, second in itertools.pairwise(front):
        ends = first.forgotten.mean, second.forgotten.mean
        if min(ends) <= place <= max(ends):
            width = ends[1] - ends[0]
            return first, second, (place - ends[0]) / width if width else 0.0
    return None
