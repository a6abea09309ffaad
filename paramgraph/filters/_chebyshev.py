r"""Chebyshev expansions of responses, and how far they are from them.

.. math:: h(L) X \approx \sum_{j=0}^{m} c_j T_j(\tilde L) X

where :math:`\tilde L` is L moved to [-1, 1] and :math:`T_{j+1} = 2 \tilde L T_j - T_{j-1}` [1]_.

References
----------
.. [1] D. K. Hammond, P. Vandergheynst, R. Gribonval, "Wavelets on graphs via spectral graph theory", Applied
   and Computational Harmonic Analysis 30(2), 2011.
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import dct
from torch import Tensor

from paramgraph.filters.response import ResponseFunction, evaluate_response

# Nodes of the interpolation that stands for the response itself; a filter is a much shorter part of it.
REFERENCE_NODES = 4096


def chebyshev_coefficients(
    response: ResponseFunction, interval: tuple[float, float]
) -> Float[np.ndarray, "reference"]:
    r"""Expand h - 1 in Chebyshev polynomials on an interval.

    The first m + 1 coefficients are a filter of order m; its largest error on the interval is at most the sum of
    the magnitudes of the rest, and of what all 4,096 together miss (`chebyshev_remainder`).

    Parameters
    ----------
    response : callable
        h, on tensors of eigenvalues.
    interval : tuple of (float, float)
        Holds all eigenvalues.

    Returns
    -------
    ndarray of shape (4096,)
        Coefficients of h - 1, from order 0 on; exactly zero for the identity.

    Raises
    ------
    ValueError
        If the response is not finite on the whole interval.

    Examples
    --------
    >>> c = chebyshev_coefficients(lambda x: 1 + x, (0.0, 2.0))
    >>> bool(np.allclose(c[:3], [1.0, 1.0, 0.0]))
    True
    """
    low, high = interval
    nodes = np.cos(np.pi * (np.arange(REFERENCE_NODES) + 0.5) / REFERENCE_NODES)
    points = torch.from_numpy((high - low) / 2 * nodes + (high + low) / 2)
    values = _evaluate(response, points, interval)
    coefficients = dct(values, type=2) / REFERENCE_NODES
    coefficients[0] /= 2
    return np.asarray(coefficients)


def chebyshev_errors(coefficients: Float[np.ndarray, "reference"]) -> Float[np.ndarray, "reference"]:
    """Bound the error of each order by the coefficients that it leaves out.

    Parameters
    ----------
    coefficients : ndarray of shape (reference,)
        From `chebyshev_coefficients`.

    Returns
    -------
    ndarray of shape (reference,)
        Largest error of the response for orders 0, 1, and so on; 0 for the last.

    Examples
    --------
    >>> chebyshev_errors(np.array([1.0, -0.5, 0.25])).tolist()
    [0.75, 0.25, 0.0]
    """
    left_out = np.cumsum(np.abs(coefficients)[::-1])[::-1]
    return np.append(left_out[1:], 0.0)


def chebyshev_remainder(
    response: ResponseFunction,
    interval: tuple[float, float],
    coefficients: Float[np.ndarray, "reference"],
) -> float:
    """Measure what the expansion itself misses, at the points halfway between those that it was made from.

    Parameters
    ----------
    response : callable
        h, on tensors of eigenvalues.
    interval : tuple of (float, float)
        Holds all eigenvalues; its ends are among the points.
    coefficients : ndarray of shape (reference,)
        From `chebyshev_coefficients` for the same response and interval.

    Returns
    -------
    float
        Largest difference: rounding for a smooth response, of the order of the jump for one that jumps.

    Raises
    ------
    ValueError
        If the response is not finite at a point.

    Examples
    --------
    >>> from paramgraph import heat
    >>> chebyshev_remainder(heat(1.0), (0.0, 2.0), chebyshev_coefficients(heat(1.0), (0.0, 2.0))) < 1e-14
    True
    """
    low, high = interval
    count = len(coefficients)
    points = (high - low) / 2 * np.cos(np.pi * np.arange(count + 1) / count) + (high + low) / 2
    values = _evaluate(response, torch.from_numpy(points.clip(low, high)), interval)
    halves = np.append(coefficients / 2, 0.0)
    halves[0] *= 2
    return float(np.abs(dct(halves, type=1) - values).max())


def jackson_damping(order: int) -> Float[np.ndarray, "orders"]:
    r"""Give the factors that take the oscillations out of a truncated Chebyshev expansion.

    .. math::
        g_j = \frac{(m - j + 2) \cos j\alpha + \sin j\alpha \cot \alpha}{m + 2},
        \qquad \alpha = \frac{\pi}{m + 2}

    The damped polynomial is an average of the response with positive weights, so it stays between the smallest
    and the largest value of the response, where a truncated expansion of a jump over- and undershoots.

    Parameters
    ----------
    order : int
        m, 0 or larger.

    Returns
    -------
    ndarray of shape (order + 1,)
        Factors of the coefficients, from 1 down towards 0.

    References
    ----------
    .. [1] L. O. Jay et al., "Electronic structure calculations for plane-wave codes without diagonalization",
       Computer Physics Communications 118(1), 1999.

    Examples
    --------
    >>> jackson_damping(1).round(4).tolist()
    [1.0, 0.5]
    """
    index, angle = np.arange(order + 1), np.pi / (order + 2)
    factors = (order - index + 2) * np.cos(index * angle) + np.sin(index * angle) / np.tan(angle)
    return np.asarray(factors / (order + 2))


def _evaluate(
    response: ResponseFunction, points: Float[Tensor, "points"], interval: tuple[float, float]
) -> Float[np.ndarray, "points"]:
    """Evaluate h - 1 at points of the interval."""
    try:
        return np.asarray(evaluate_response(response, points).numpy() - 1)
    except ValueError as error:
        raise ValueError(
            f"{error}; a Chebyshev filter needs the response on all of [{interval[0]:.4g}, {interval[1]:.4g}], which "
            "is proven to hold the spectrum: use method='exact', or 'lowrank' with a rank"
        ) from error
