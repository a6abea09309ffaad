r"""Chebyshev expansions of responses: coefficients, the order that is enough, and how far off they are.

.. math:: h(L) X \approx \sum_{j=0}^{m} c_j T_j(\tilde L) X

where :math:`\tilde L` is L moved to [-1, 1] and :math:`T_{j+1} = 2 \tilde L T_j - T_{j-1}` [1]_.

References
----------
.. [1] D. K. Hammond, P. Vandergheynst, R. Gribonval, "Wavelets on graphs via spectral graph theory", Applied
   and Computational Harmonic Analysis 30(2), 2011.
"""

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import dct
from torch import Tensor

from paramgraph.errors import NumericalWarning, users_level
from paramgraph.filters.response import Response, ResponseFunction, evaluate_response, response_edges
from paramgraph.filters.response_algebra import Combination
from paramgraph.spectra import KroneckerPair, ShiftOperator

Damping = Literal["none", "jackson"]
DAMPINGS: tuple[Damping, ...] = get_args(Damping)
# Nodes of the interpolation that stands for the response itself; a filter is a much shorter part of it.
REFERENCE_NODES = 4096
# Values of a response that does not show itself at few: they take a tenth of a second.
OWN_POINTS = 2**20
MONOTONE = ("heat", "tikhonov", "power", "identity")
# Up to here eigenvalues take less than a third of a second.
SMALL_NODES = 1000
NOTHING = np.empty(0)
# Of the largest coefficient: what all further ones may add up to, which are rounding.
NEGLIGIBLE = 1e-13
# Below the rounding of a float32 signal; the order that "auto" may take for it.
AUTO_ERROR = 1e-6
AUTO_ORDER = 500
WARN_ERROR = 0.01


@dataclass(frozen=True, eq=False)
class PolynomialDesign:
    """Coefficients of h - 1 in Chebyshev polynomials, and a bound of their error on the interval.

    The bound is rigorous for a response that shows itself at few points (`shows_itself`). Of others 1,048,577 values
    are looked at, and those at the eigenvalues of a small graph; it is then an estimate, as the remark says, which goes
    into the reason of the filter.
    """

    coefficients: Float[np.ndarray, " orders"]
    error: float
    remark: str

    @property
    def order(self) -> int:
        """Order of the polynomial."""
        return len(self.coefficients) - 1


def design_polynomial(
    response: ResponseFunction,
    interval: tuple[float, float],
    order: int,
    automatic: bool,
    damping: Damping = "none",
    known: Float[np.ndarray, " known"] = NOTHING,
) -> PolynomialDesign:
    """Expand a response from 4,096 values of it, to the order given, or from there up to an error below 1e-6.

    The error is also looked at in `known` eigenvalues.
    A ValueError is raised where the response is not finite on the interval, or no order up to 500 (or `order`) is
    enough; an undamped polynomial with an error above 0.01 gives a NumericalWarning.

    >>> from paramgraph import heat
    >>> design_polynomial(heat(1.0), (0.0, 2.0), 5, automatic=True).order
    7
    """
    coefficients = chebyshev_coefficients(response, interval)
    order = min(int(order), len(coefficients) - 1)
    remainder = chebyshev_remainder(response, interval, coefficients, known)
    seen = "" if shows_itself(response) else f", as far as {OWN_POINTS + 1:,} values of it show"
    if damping == "jackson":
        factors = jackson_damping(order)
        kept = coefficients[: order + 1]
        error = float(np.abs((1 - factors) * kept).sum() + chebyshev_errors(coefficients)[order]) + remainder
        remark = f"; order {order}, Jackson damping, error of the response at most {error:.1g}{seen}"
        return PolynomialDesign(factors * kept, error, remark)
    errors = chebyshev_errors(coefficients) + remainder
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
            stacklevel=users_level(),
        )
    remark = f"; order {order}, error of the response at most {error:.1g}{seen}"
    return PolynomialDesign(coefficients[: order + 1], error, remark)


def shows_itself(response: ResponseFunction) -> bool:
    """Say whether nothing of a response hides between points: its parts are monotone, or say where they jump."""
    if isinstance(response, Combination):
        return all(shows_itself(part) for part in response.parts if callable(part))
    return isinstance(response, Response) and (response.name in MONOTONE or bool(response.edges))


def eigenvalues_of_small(operator: ShiftOperator | KroneckerPair, response: ResponseFunction) -> np.ndarray:
    """Compute all eigenvalues where something of a response may hide and they cost little; else none."""
    if shows_itself(response) or max(part.nodes for part in operator.parts) > SMALL_NODES:
        return NOTHING
    values = [np.linalg.eigvalsh(part.to_dense()) for part in operator.parts]
    return np.asarray(
        operator.join.outer(*values) if isinstance(operator, KroneckerPair) else values[0]
    ).ravel()


def chebyshev_coefficients(
    response: ResponseFunction, interval: tuple[float, float]
) -> Float[np.ndarray, " reference"]:
    """Expand h - 1 in Chebyshev polynomials on an interval; exactly zero for the identity.

    The first m + 1 coefficients are a filter of order m; its largest error on the interval is at most the sum of
    the magnitudes of the rest, and of what all 4,096 together miss (`chebyshev_remainder`).
    """
    low, high = interval
    nodes = np.cos(np.pi * (np.arange(REFERENCE_NODES) + 0.5) / REFERENCE_NODES)
    points = torch.from_numpy((high - low) / 2 * nodes + (high + low) / 2)
    values = _evaluate(response, points, interval)
    coefficients = dct(values, type=2) / REFERENCE_NODES
    coefficients[0] /= 2
    return np.asarray(coefficients)


def chebyshev_errors(coefficients: Float[np.ndarray, " reference"]) -> Float[np.ndarray, " reference"]:
    """Bound the error of orders 0, 1, and so on by the coefficients that each leaves out; 0 for the last."""
    left_out = np.cumsum(np.abs(coefficients)[::-1])[::-1]
    return np.append(left_out[1:], 0.0)


def chebyshev_remainder(
    response: ResponseFunction,
    interval: tuple[float, float],
    coefficients: Float[np.ndarray, " reference"],
    known: Float[np.ndarray, " known"] = NOTHING,
) -> float:
    """Measure what the expansion itself misses, at points halfway between those that it was made from, and at jumps.

    Rounding for a smooth response, of the order of the jump for one that jumps, however narrow a band of it is; the
    ends of the interval are among the points, and so are the `known` eigenvalues. Of what does not show itself 256
    times as many points see a band of 2e-6 of the interval.
    """
    low, high = interval
    count = len(coefficients) if shows_itself(response) else OWN_POINTS
    points = (high - low) / 2 * np.cos(np.pi * np.arange(count + 1) / count) + (high + low) / 2
    values = _evaluate(response, torch.from_numpy(points.clip(low, high)), interval)
    halves = np.zeros(count + 1)
    halves[: len(coefficients)] = coefficients / 2
    halves[0] *= 2
    missed = np.abs(dct(halves, type=1) - values).max()
    # A band between two points is seen at its ends: h there, and a rounding to either side.
    edges = np.array([edge for edge in response_edges(response) if low <= edge <= high])
    beside = np.concatenate([known, edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
    if len(beside) and high > low:
        beside = beside.clip(low, high)
        # A smooth response has some tens of coefficients above rounding: a hundredth of the time.
        tail = chebyshev_errors(coefficients)
        last = int(np.argmax(tail <= NEGLIGIBLE * np.abs(coefficients).max()))
        there = np.polynomial.chebyshev.chebval(
            (2 * beside - low - high) / (high - low), coefficients[: last + 1]
        )
        apart = np.abs(there - _evaluate(response, torch.from_numpy(beside), interval)).max()
        missed = max(missed, apart + tail[last])
    return float(missed)


def jackson_damping(order: int) -> Float[np.ndarray, " orders"]:
    r"""Give the factors that take the oscillations out of a truncated Chebyshev expansion [2]_.

    .. math::
        g_j = \frac{(m - j + 2) \cos j\alpha + \sin j\alpha \cot \alpha}{m + 2},
        \qquad \alpha = \frac{\pi}{m + 2}

    The damped polynomial is an average of the response with positive weights, so it stays between the smallest
    and the largest value of the response, where a truncated expansion of a jump over- and undershoots.

    .. [2] L. O. Jay et al., "Electronic structure calculations for plane-wave codes without diagonalization",
       Computer Physics Communications 118(1), 1999.
    """
    index, angle = np.arange(order + 1), np.pi / (order + 2)
    factors = (order - index + 2) * np.cos(index * angle) + np.sin(index * angle) / np.tan(angle)
    return np.asarray(factors / (order + 2))


def _evaluate(
    response: ResponseFunction, points: Float[Tensor, " points"], interval: tuple[float, float]
) -> Float[np.ndarray, " points"]:
    """Evaluate h - 1 at points of the interval."""
    try:
        return np.asarray(evaluate_response(response, points).numpy() - 1)
    except ValueError as error:
        raise ValueError(
            f"{error}; a Chebyshev filter needs the response on all of [{interval[0]:.4g}, {interval[1]:.4g}], which "
            "is proven to hold the spectrum: use method='exact', or 'lowrank' with a rank"
        ) from error
