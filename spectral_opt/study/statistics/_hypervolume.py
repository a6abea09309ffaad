"""How much of the plane of score and retention a front covers."""

import numpy as np
from jaxtyping import Float


def hypervolume(
    kept: Float[np.ndarray, " states"], scores: Float[np.ndarray, " states"], start: float
) -> float:
    r"""Measure the area that (kept, score) of states dominate above the score of the start, exactly.

    .. math:: \Big| \bigcup_i [0, k_i] \times [s_0, s_i] \Big|

    A state below the start, or that keeps nothing, adds nothing. E. Zitzler and L. Thiele, "Multiobjective
    evolutionary algorithms", IEEE Transactions on Evolutionary Computation 3(4), 1999.

    >>> round(hypervolume(np.array([0.5, 0.8]), np.array([0.9, 0.8]), 0.7), 3)
    0.13
    """
    kept = np.maximum(kept, 0)
    order = np.argsort(-kept, kind="stable")
    # From the state that keeps most to the one that keeps least, the best score so far is the height.
    heights = np.maximum.accumulate(np.maximum(scores[order] - start, 0))
    widths = kept[order] - np.append(kept[order][1:], 0)
    return float(heights @ widths)
