import itertools
import math

import numpy as np
import pytest
import torch

from paramgraph.measures import permuted_moments, rotated_moments


def some_basis(nodes, modes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(nodes, nodes, dtype=torch.float64, generator=generator))[0][:, :modes]


def some_signal(nodes, width, seed=1):
    # A mean that is not zero and rows of different sizes, so that no sum vanishes by symmetry.
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(nodes, width, dtype=torch.float64, generator=generator) + 0.5
    return X * torch.arange(1, nodes + 1)[:, None]


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("width", [1, 3, 9])
def test_moments_over_permutations_are_those_of_all_of_them(nodes, width):
    basis, X = some_basis(nodes, max(1, nodes // 2)), some_signal(nodes, width)
    energies = [
        float((basis.T @ X[list(order)]).square().sum() / X.square().sum())
        for order in itertools.permutations(range(nodes))
    ]
    found = permuted_moments(basis, X)
    # Sums of n! rounded terms in float64.
    assert found.mean == pytest.approx(np.mean(energies), rel=1e-10)
    assert found.deviation == pytest.approx(np.std(energies), rel=1e-7, abs=1e-7)


def test_moments_over_rotations_are_those_of_a_beta_law_for_one_mode_and_one_column():
    n = 7
    found = rotated_moments(some_basis(n, 1), some_signal(n, 1))
    assert found.mean == pytest.approx(1 / n)
    assert found.deviation == pytest.approx(math.sqrt(2 * (n - 1) / (n**2 * (n + 2))))


def test_moments_over_rotations_agree_with_draws():
    basis, X = some_basis(8, 3), some_signal(8, 4)
    energies = [
        float((some_basis(8, 3, seed=draw).T @ X).square().sum() / X.square().sum())
        for draw in range(1, 3001)
    ]
    found = rotated_moments(basis, X)
    # Five standard errors of the mean, and of the deviation of a law that is near to normal.
    assert abs(np.mean(energies) - found.mean) < 5 * found.deviation / math.sqrt(3000)
    assert abs(np.std(energies) - found.deviation) < 5 * found.deviation / math.sqrt(2 * 3000)


def test_a_signal_of_zeros_has_no_null():
    found = permuted_moments(some_basis(5, 2), torch.zeros(5, 3, dtype=torch.float64))
    assert math.isnan(found.mean)
    assert math.isnan(rotated_moments(some_basis(5, 2), torch.zeros(5, 3, dtype=torch.float64)).mean)
