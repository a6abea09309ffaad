"""When graphs are built anew: the field `refresh` of a config, read."""

import math
import numbers
from typing import Any, NamedTuple

# Drift is measured this often and on this many batches: at most 4 forward and backward passes in 50 steps.
DRIFT_EVERY = 50
DRIFT_BATCHES = 4


class RefreshSchedule(NamedTuple):
    """Say when the graphs of a config are built anew.

    Parameters
    ----------
    every : int, default 0
        Number of steps between two builds; 0: not by the number of steps.
    drift : float, default 0.0
        Relative change of a table's gradient Gram that has its graph built anew; 0: not by drift.

    Examples
    --------
    >>> RefreshSchedule(every=10)
    RefreshSchedule(every=10, drift=0.0)
    """

    every: int = 0
    drift: float = 0.0


def refresh_schedule(refresh: Any) -> RefreshSchedule:
    """Read the field `refresh` of a config.

    Parameters
    ----------
    refresh : "never", int or "drift:<share>"
        As in `SpectralConfig`.

    Returns
    -------
    RefreshSchedule
        When to build.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> refresh_schedule("drift:0.1")
    RefreshSchedule(every=0, drift=0.1)
    """
    if refresh == "never":
        return RefreshSchedule()
    if isinstance(refresh, numbers.Integral) and refresh is not True and int(refresh) >= 1:
        return RefreshSchedule(every=int(refresh))
    if isinstance(refresh, str) and refresh.startswith("drift:"):
        try:
            share = float(refresh.removeprefix("drift:"))
        except ValueError:
            share = math.nan
        if 0.0 < share < math.inf:
            return RefreshSchedule(drift=share)
    raise ValueError(
        f"refresh is {refresh!r}; allowed: 'never', an int >= 1 (steps), or 'drift:0.1' with any share > 0"
    )


def check_refresh(refresh: Any) -> Any:
    """Check the field `refresh` of a config.

    Parameters
    ----------
    refresh : object
        What came.

    Returns
    -------
    str or int
        The same; an integer of NumPy as one of Python, fit for JSON.

    Raises
    ------
    ValueError
        If it is not allowed.

    Examples
    --------
    >>> check_refresh(10)
    10
    """
    schedule = refresh_schedule(refresh)
    return schedule.every or refresh
