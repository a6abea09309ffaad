"""How soon a run is as good on the development texts as another was at its best."""

import math

import numpy as np
from jaxtyping import Float

from spectral_opt.study import CellRecord

# Evaluations that are averaged.
WINDOW = 3


def smoothed_losses(losses: Float[np.ndarray, " evaluations"]) -> Float[np.ndarray, " evaluations"]:
    """Average each loss with the two before it, the first ones with what there is.

    A mean that looks back only is what a run could be stopped by, and takes from each method the same delay.

    >>> smoothed_losses(np.array([6.0, 3.0, 3.0, 0.0]))
    array([6. , 4.5, 4. , 2. ])
    """
    sums = np.cumsum(np.concatenate([[0.0], losses]))
    after = np.arange(1, len(losses) + 1)
    before = np.maximum(after - WINDOW, 0)
    smooth: Float[np.ndarray, " evaluations"] = (sums[after] - sums[before]) / (after - before)
    return smooth


def best_smoothed_loss(record: CellRecord) -> float:
    """Return the least smoothed loss on the development texts; ValueError where they were not looked at."""
    return float(smoothed_losses(_dev_losses(record)).min())


def reached_at(record: CellRecord, target: float) -> tuple[float, float]:
    """Return steps and seconds of the processor, preparing counted, at the first evaluation at or below a target.

    Both are infinite where the run ended before it; nothing is interpolated.
    """
    below = np.flatnonzero(smoothed_losses(_dev_losses(record)) <= target)
    if not len(below):
        return math.inf, math.inf
    curve, place = record.metrics["curve"], int(below[0])
    seconds = record.cpu_seconds.get("preparing", 0.0) + float(curve["dev_cpu_seconds"][place])
    return float(curve["dev_step"][place]), seconds


def _dev_losses(record: CellRecord) -> Float[np.ndarray, " evaluations"]:
    losses = record.metrics.get("curve", {}).get("dev_loss")
    if not losses:
        raise ValueError(
            f"{record.method} of seed {record.seed} has no loss on development texts over its steps"
        )
    return np.array(losses, dtype=float)
