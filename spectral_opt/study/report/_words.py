"""How numbers of a report are written; what is no number is a dash, never `nan`."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

NONE = "–"  # noqa: RUF001 - the dash that the page's script sorts last


def number(value: float | None, form: str = ".3f") -> str:
    """Write a number.

    >>> number(0.5), number(None), number(float("nan")), number(float("-inf"))
    ('0.500', '–', '–', '-∞')
    """
    if value is not None and math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return NONE if value is None or math.isnan(value) else format(value, form)


def between(low: float | None, high: float | None, form: str = ".3f") -> str:
    """Write the ends of an interval; one without bound is open there, and none at all a dash.

    >>> between(0.1, 0.25, ".2f"), between(None, 0.25, ".2f"), between(None, None), between(0.5, float("inf"), ".1f")
    ('[0.10, 0.25]', '[–, 0.25]', '–', '[0.5, –]')
    """
    ends = (number(None if low == -math.inf else low, form), number(None if high == math.inf else high, form))
    return NONE if ends == (NONE, NONE) else f"[{ends[0]}, {ends[1]}]"


def mean_interval(
    values: Sequence[float] | Sequence[Sequence[float]],
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return the mean over runs and the ends of its 95 % t interval, NaN for a single run; no run is all NaN."""
    found = np.asarray(values, dtype=float)
    if not len(found):
        return (np.array(np.nan),) * 3
    mean = np.asarray(found.mean(axis=0))
    half = np.full(mean.shape, np.nan)
    if len(found) > 1:
        half = stdtrit(len(found) - 1, 0.975) * np.asarray(found.std(axis=0, ddof=1)) / math.sqrt(len(found))
    return mean, np.asarray(mean - half), np.asarray(mean + half)


def counted(number_of: int, noun: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "run"), counted(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"
