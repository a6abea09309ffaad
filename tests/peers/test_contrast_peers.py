"""The contrast of two graphs through SciPy's generalized eigenproblem, solve and matrix functions."""

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.datasets import load_digits

from paramgraph import contrast, heat, tikhonov

# Second moments of real features: pixels of even and of odd digits; many pixels are always 0.
IMAGES, LABELS = load_digits(return_X_y=True)
EVEN, ODD = (IMAGES[parity == LABELS % 2] for parity in (0, 1))
TASK, PRESERVE = (each.T @ each * (64 / np.sum(each**2)) for each in (EVEN, ODD))
B = TASK + 0.1 * np.eye(64)
X = np.random.default_rng(0).standard_normal((64, 5))


def test_generalized_eigenvalues_are_those_of_scipy():
    expected = scipy.linalg.eigh(PRESERVE, B, eigvals_only=True)[::-1]
    # Both are backward stable; the condition number of B is about 500.
    np.testing.assert_allclose(contrast(TASK, PRESERVE).eigenvalues.numpy(), expected, atol=1e-11)


@pytest.mark.parametrize("gamma", [0.3, 3.0])
def test_tikhonov_is_the_linear_solve_of_scipy(gamma):
    expected = scipy.linalg.solve(B + gamma * PRESERVE, B @ X, assume_a="pos")
    found = contrast(TASK, PRESERVE, 0.1, tikhonov(gamma))(torch.from_numpy(X))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-11)


def test_heat_is_the_matrix_exponential_of_scipy():
    expected = scipy.linalg.expm(-0.5 * scipy.linalg.solve(B, PRESERVE, assume_a="pos")) @ X
    np.testing.assert_allclose(
        contrast(TASK, PRESERVE, 0.1, heat(0.5))(torch.from_numpy(X)).numpy(), expected, atol=1e-11
    )
