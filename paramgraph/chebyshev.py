r"""Chebyshev polynomials of a shift operator: filters without eigenvectors.

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

from paramgraph.responses import ResponseFunction, evaluate_response
from paramgraph.shift_operator import ShiftOperator

# Nodes of the interpolation that stands for the response itself; a filter is a much shorter part of it.
REFERENCE_NODES = 4096


def chebyshev_coefficients(
    response: ResponseFunction, interval: tuple[float, float]
) -> Float[np.ndarray, "reference"]:
    r"""Expand h - 1 in Chebyshev polynomials on an interval.

    The first m + 1 coefficients are a filter of order m; its largest error on the interval is at most the sum of
    the magnitudes of the rest (for a continuous response, up to rounding).

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
    try:
        values = evaluate_response(response, points).numpy() - 1
    except ValueError as error:
        raise ValueError(
            f"{error}; a Chebyshev filter needs the response on all of [{low:.4g}, {high:.4g}], which is proven to "
            "hold the spectrum: use method='exact', or 'lowrank' with a rank"
        ) from error
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


def chebyshev_product(
    operator: ShiftOperator,
    X: Float[Tensor, "nodes width"],
    coefficients: Float[np.ndarray, "orders"],
    interval: tuple[float, float],
) -> Float[Tensor, "nodes width"]:
    """Apply a Chebyshev polynomial of the operator to a signal by the three-term recurrence.

    Parameters
    ----------
    operator : ShiftOperator
        Symmetric operator.
    X : Tensor of shape (nodes, width)
        Signal, float32 or float64; not changed.
    coefficients : ndarray of shape (order + 1,)
        From order 0 on.
    interval : tuple of (float, float)
        The interval of the coefficients.

    Returns
    -------
    Tensor of shape (nodes, width)
        Differentiable in X. O(order x edges x width) time, four signals of memory.

    Examples
    --------
    >>> from paramgraph.shifts import zero_operator
    >>> chebyshev_product(zero_operator(2), torch.ones(2, 1), np.array([0.5]), (0.0, 1.0)).T
    tensor([[0.5000, 0.5000]])
    """
    low, high = interval
    centre, radius = (high + low) / 2, (high - low) / 2 or 1.0
    result = float(coefficients[0]) * X
    if len(coefficients) == 1:
        return result
    before, term = X, ((operator @ X) - centre * X) / radius
    result = result + float(coefficients[1]) * term
    for coefficient in coefficients[2:]:
        before, term = term, (2 / radius) * ((operator @ term) - centre * term) - before
        result = result + float(coefficient) * term
    return result
