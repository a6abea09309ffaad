import networkx as nx
import numpy as np
import pytest
import torch
from scipy.special import ive

from paramgraph.chebyshev import chebyshev_coefficients, chebyshev_errors
from paramgraph.chebyshev_recurrence import chebyshev_product
from paramgraph.responses import heat, identity
from paramgraph.shifts import laplacian


def test_coefficients_of_heat_are_bessel_functions():
    # exp(-t (1 + y)) = sum (2 - [j = 0]) (-1)^j e^-t I_j(t) T_j(y) on [0, 2], y = x - 1.
    order, t = np.arange(20), 3.0
    expected = np.where(order == 0, 1.0, 2.0) * (-1.0) ** order * ive(order, t)
    expected[0] -= 1  # of h - 1
    np.testing.assert_allclose(chebyshev_coefficients(heat(t), (0.0, 2.0))[:20], expected, atol=1e-15)


def test_coefficients_of_the_identity_are_exactly_zero():
    assert not chebyshev_coefficients(identity(), (0.0, 7.0)).any()


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_product_is_the_polynomial_of_the_matrix(order):
    operator = laplacian(nx.path_graph(6), None)
    coefficients = np.arange(1.0, order + 2)
    values, vectors = np.linalg.eigh(operator.to_dense())
    low, high = operator.interval
    gain = np.polynomial.chebyshev.chebval(2 * (values - low) / (high - low) - 1, coefficients)
    X = torch.eye(6, dtype=torch.float64)
    product = chebyshev_product(operator, X, coefficients, operator.interval)
    np.testing.assert_allclose(product.numpy(), (vectors * gain) @ vectors.T, atol=1e-12)


def test_errors_fall_to_zero():
    errors = chebyshev_errors(chebyshev_coefficients(heat(2.0), (0.0, 2.0)))
    assert (np.diff(errors) <= 0).all()
    assert errors[-1] == 0.0
