"""The order and the coefficients of a Chebyshev filter, and a bound of its error."""

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from paramgraph.errors import NumericalWarning
from paramgraph.filters._chebyshev import (
    chebyshev_coefficients,
    chebyshev_errors,
    chebyshev_remainder,
    jackson_damping,
)
from paramgraph.filters.response import ResponseFunction

DAMPINGS = ("none", "jackson")
# Below the rounding of a float32 signal; the order that "auto" may take for it.
AUTO_ERROR = 1e-6
AUTO_ORDER = 500
WARN_ERROR = 0.01


@dataclass(frozen=True, eq=False)
class PolynomialDesign:
    """Hold the polynomial that stands for h - 1.

    Parameters
    ----------
    coefficients : ndarray of shape (order + 1,)
        In Chebyshev polynomials.
    error : float
        Bound of the largest error of the response on the interval. It is rigorous for a response that a polynomial
        of order 4,095 resolves, as heat and Tikhonov; where there is a jump, it is an estimate from 8,193 points.
    remark : str
        Order, damping and error, for the reason of the filter.

    Examples
    --------
    >>> PolynomialDesign(np.zeros(31), 0.0, "").order
    30
    """

    coefficients: Float[np.ndarray, "orders"]
    error: float
    remark: str

    @property
    def order(self) -> int:
        """Order of the polynomial."""
        return len(self.coefficients) - 1


def design_polynomial(
    response: ResponseFunction,
    interval: tuple[float, float],
    order: Any,
    automatic: bool,
    damping: str = "none",
) -> PolynomialDesign:
    """Expand a response, and raise the order where it was left to us.

    Parameters
    ----------
    response : callable
        h, on tensors of eigenvalues.
    interval : tuple of (float, float)
        Holds all eigenvalues.
    order : int
        Order of the polynomial; the lowest where it is `automatic`.
    automatic : bool
        Whether to take the order that brings the error below 1e-6.
    damping : {"none", "jackson"}, default "none"
        Whether to damp the coefficients; the order is then as given.

    Returns
    -------
    PolynomialDesign
        O(1) time: 8,193 values of the response.

    Raises
    ------
    ValueError
        If the response is not finite on the interval, or no order up to 500 (or `order`) is enough.

    Warns
    -----
    NumericalWarning
        If the error of an undamped polynomial is above 0.01.

    Examples
    --------
    >>> from paramgraph import heat
    >>> design_polynomial(heat(1.0), (0.0, 2.0), 5, automatic=True).order
    7
    """
    coefficients = chebyshev_coefficients(response, interval)
    order = min(int(order), len(coefficients) - 1)
    if damping == "jackson":
        return _damped(response, interval, coefficients, order)
    errors = chebyshev_errors(coefficients) + chebyshev_remainder(response, interval, coefficients)
    if automatic:
        enough = np.flatnonzero(errors <= AUTO_ERROR)
        if not len(enough) or enough[0] > max(order, AUTO_ORDER):
            needed = f"of order {enough[0]}" if len(enough) else f"of an order above {len(errors) - 1}"
            raise ValueError(
                f"the response {response!r} needs a polynomial {needed} for an error of {AUTO_ERROR}; give "
                "rank=... for a low-rank filter, or method='chebyshev' and accept the error in its reason"
            )
        order = max(order, int(enough[0]))
    error = float(errors[order])
    if error > WARN_ERROR:
        warnings.warn(
            f"a Chebyshev filter of order {order} misses the response {response!r} by up to {error:.2g}; raise "
            "order, or use method='exact' or 'lowrank'",
            NumericalWarning,
            stacklevel=_users_level(),
        )
    remark = f"; order {order}, error of the response at most {error:.1g}"
    return PolynomialDesign(coefficients[: order + 1], error, remark)


def _users_level() -> int:
    """Count the frames up to the first outside of this package: filters and banks get here by ways of many depths."""
    frame: Any = sys._getframe(1)
    level = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("paramgraph."):
        frame, level = frame.f_back, level + 1
    return level


def _damped(response: Any, interval: Any, coefficients: Any, order: int) -> PolynomialDesign:
    factors = jackson_damping(order)
    kept = coefficients[: order + 1]
    error = float(np.abs((1 - factors) * kept).sum() + chebyshev_errors(coefficients)[order])
    error += chebyshev_remainder(response, interval, coefficients)
    return PolynomialDesign(
        factors * kept, error, f"; order {order}, Jackson damping, error of the response at most {error:.1g}"
    )
