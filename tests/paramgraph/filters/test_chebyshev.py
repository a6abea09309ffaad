import inspect

import numpy as np
import pytest
import torch
from scipy.special import ive

from paramgraph import NumericalWarning, bandpass, heat, highpass, identity, lowpass, tikhonov
from paramgraph.errors import users_level
from paramgraph.filters import (
    AUTO_ERROR,
    chebyshev_coefficients,
    chebyshev_errors,
    chebyshev_remainder,
    design_polynomial,
    itersine,
    jackson_damping,
    mexican_hat,
    meyer,
)

from helpers.names import shown

INTERVAL = (0.0, 2.0)
# No multiple of the points of the expansion, and both ends.
POINTS = np.linspace(0.0, 2.0, 10_007)


def largest_error(response, design):
    values = np.polynomial.chebyshev.chebval(POINTS - 1, design.coefficients) + 1
    return np.abs(values - response(torch.from_numpy(POINTS)).numpy()).max()


@pytest.mark.parametrize("damping", ["none", "jackson"])
@pytest.mark.parametrize("order", [1, 5, 30, 100])
@pytest.mark.parametrize(
    "response",
    [
        heat(0.1),
        heat(30.0),
        tikhonov(100.0),
        meyer(1),
        itersine(2),
        mexican_hat(1),
        lowpass(0.7),
        bandpass(0.3, 0.31),
        highpass(0.0),
        lambda x: x.sqrt(),
        lambda x: (x - 1).abs(),
    ],
    ids=shown,
)
@pytest.mark.filterwarnings("ignore::paramgraph.errors.NumericalWarning")
def test_error_is_a_bound(response, order, damping):
    design = design_polynomial(response, INTERVAL, order, automatic=False, damping=damping)
    assert largest_error(response, design) <= design.error + 1e-13


@pytest.mark.parametrize("response", [heat(30.0), tikhonov(10.0), heat(1.0) * tikhonov(2.0)], ids=shown)
def test_automatic_order_is_the_lowest_that_is_enough(response):
    design = design_polynomial(response, INTERVAL, 1, automatic=True)
    assert largest_error(response, design) <= design.error <= AUTO_ERROR
    assert design_polynomial(response, INTERVAL, design.order - 1, automatic=False).error > AUTO_ERROR


def test_identity_is_exactly_zero():
    design = design_polynomial(identity(), INTERVAL, 30, automatic=True)
    assert not design.coefficients.any()
    assert design.error == 0.0


@pytest.mark.parametrize("response", [lowpass(1.0), lambda x: (x * 5000).cos()])
def test_no_order_that_is_enough_is_refused_with_the_way_out(response):
    with pytest.raises(ValueError, match="rank="):
        design_polynomial(response, INTERVAL, 30, automatic=True)


def test_undamped_error_is_warned_of_and_a_damped_one_is_written_down():
    with pytest.warns(NumericalWarning, match="raise order"):
        design_polynomial(lowpass(1.0), INTERVAL, 30, automatic=False)
    assert "Jackson" in design_polynomial(lowpass(1.0), INTERVAL, 30, False, "jackson").remark


def test_remainder_sees_what_the_expansion_misses():
    jump = chebyshev_remainder(lowpass(0.7), INTERVAL, chebyshev_coefficients(lowpass(0.7), INTERVAL))
    smooth = chebyshev_remainder(heat(3.0), INTERVAL, chebyshev_coefficients(heat(3.0), INTERVAL))
    assert jump > 0.1
    assert smooth < 1e-13


@pytest.mark.parametrize("order", [0, 1, 7, 40])
def test_jackson_factors_fall_from_one_and_make_a_positive_kernel(order):
    factors = jackson_damping(order)
    assert factors[0] == pytest.approx(1.0)
    assert (np.diff(factors) < 0).all()
    kernel = np.polynomial.chebyshev.chebval(np.linspace(-1, 1, 501), np.append(factors[0], 2 * factors[1:]))
    assert kernel.min() > -1e-12


def test_warning_is_laid_to_the_first_frame_outside_of_the_package():
    # Unwrapped: the type checks of the tests put frames of their own between.
    module = {"__name__": "paramgraph.inner", "level": inspect.unwrap(users_level)}
    exec("def one(): return level()\ndef two(): return one()", module)
    assert (module["one"](), module["two"]()) == (2, 3)


def test_coefficients_of_heat_are_bessel_functions():
    # exp(-t (1 + y)) = sum (2 - [j = 0]) (-1)^j e^-t I_j(t) T_j(y) on [0, 2], y = x - 1.
    order, t = np.arange(20), 3.0
    expected = np.where(order == 0, 1.0, 2.0) * (-1.0) ** order * ive(order, t)
    expected[0] -= 1  # of h - 1
    np.testing.assert_allclose(chebyshev_coefficients(heat(t), (0.0, 2.0))[:20], expected, atol=1e-15)


def test_coefficients_of_the_identity_are_exactly_zero():
    assert not chebyshev_coefficients(identity(), (0.0, 7.0)).any()


def test_errors_fall_to_zero():
    errors = chebyshev_errors(chebyshev_coefficients(heat(2.0), (0.0, 2.0)))
    assert (np.diff(errors) <= 0).all()
    assert errors[-1] == 0.0


def test_known_eigenvalues_of_a_smooth_response_cost_no_more_than_its_coefficients(monkeypatch):
    taken, evaluate = [], np.polynomial.chebyshev.chebval
    monkeypatch.setattr(
        np.polynomial.chebyshev, "chebval", lambda x, c: taken.append(len(c)) or evaluate(x, c)
    )
    design = design_polynomial(lambda x: torch.exp(-x), (0.0, 2.0), 30, False, known=np.linspace(0, 2, 1000))
    assert design.error < 1e-12
    assert max(taken) < 100
