import numpy as np
from scipy.special import ive

from paramgraph import heat, identity
from paramgraph.filters._chebyshev import chebyshev_coefficients, chebyshev_errors


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
