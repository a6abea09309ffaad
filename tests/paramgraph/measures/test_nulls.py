import itertools
import math
import tracemalloc

import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import eigenpairs, laplacian
from paramgraph.measures import (
    narrow,
    permutation_p_value,
    permuted_energies,
    permuted_moments,
    permuted_signal_and_noise,
    rotated_moments,
    signal_to_noise,
)


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


def test_draws_agree_with_the_moments_and_do_not_touch_the_global_generator():
    basis, X = some_basis(40, 8), some_signal(40, 60)
    state = torch.get_rng_state()
    draws = permuted_energies([basis], X, 2000, seed=3)[0]
    assert torch.equal(torch.get_rng_state(), state)
    found = permuted_moments(basis, X)
    assert abs(draws.mean() - found.mean) < 5 * found.deviation / math.sqrt(2000)
    assert np.array_equal(draws, permuted_energies([basis], X, 2000, seed=3)[0])
    assert not np.array_equal(draws, permuted_energies([basis], X, 2000, seed=4)[0])


def test_p_values_of_a_signal_that_knows_nothing_are_uniform():
    basis = eigenpairs(laplacian(nx.path_graph(30)), k=6).eigenvectors
    p = [
        permutation_p_value(
            float((basis.T @ X).square().sum() / X.square().sum()),
            permuted_energies([basis], X, 39, seed=0)[0],
        )
        for X in torch.randn(200, 30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ]
    # Of 200 uniform values on a grid of 1/40, the mean is 0.5125 with a standard error of 0.02.
    assert abs(np.mean(p) - 0.5125) < 0.1
    assert np.mean(np.array(p) <= 0.05) < 0.125


def test_where_permutation_changes_nothing_every_draw_counts_and_there_is_no_z_score():
    basis = eigenpairs(laplacian(nx.complete_graph(9))).eigenvectors[:, :1]
    X = some_signal(9, 3)
    energy = float((basis.T @ X).square().sum() / X.square().sum())
    assert permutation_p_value(energy, permuted_energies([basis], X, 19, seed=0)[0]) == 1.0
    assert math.isnan(permuted_moments(basis, X).z_score(energy))


def test_a_signal_of_zeros_has_no_p_value():
    X = torch.zeros(5, 3, dtype=torch.float64)
    draws = permuted_energies([some_basis(5, 2)], X, 9, seed=0)[0]
    assert math.isnan(permutation_p_value(math.nan, draws))


def test_a_wide_signal_is_narrowed_without_changing_its_gram_matrix():
    X = some_signal(5, 50)
    slim = narrow(X)
    assert slim.shape == (5, 5)
    assert torch.allclose(slim @ slim.T, X @ X.T, rtol=1e-12)
    assert narrow(slim) is slim


@pytest.mark.parametrize("width", [3, 50])
def test_both_ways_to_draw_give_the_same_energies(monkeypatch, width):
    bases, X = [some_basis(30, 4), some_basis(30, 7, seed=5)], some_signal(30, width)
    through_gram = permuted_energies(bases, X, 20, seed=0)
    monkeypatch.setattr("paramgraph.measures.nulls.LARGEST_GRAM", 10)
    assert np.allclose(through_gram, permuted_energies(bases, X, 20, seed=0), rtol=1e-10)  # rounding of sums
    assert np.allclose(through_gram[:1], permuted_energies(bases[:1], X, 20, seed=0), rtol=1e-10)


def test_drawn_signal_and_noise_are_those_of_gradients_whose_nodes_are_permuted():
    spectrum = eigenpairs(laplacian(nx.path_graph(7)))
    generator = torch.Generator().manual_seed(2)
    gradients = torch.randn(5, 7, 3, dtype=torch.float64, generator=generator) + some_signal(7, 3)
    signal, noise = permuted_signal_and_noise([spectrum.eigenvectors[:, :2]], gradients, 4, seed=3)
    orders = torch.Generator().manual_seed(3)
    for draw in range(4):
        order = torch.randperm(7, generator=orders)
        # Two of seven modes, as the first of two bands.
        found = signal_to_noise(spectrum, gradients[:, order], bands=(0, 2 / 7, 1))
        whole = found.noise.sum()
        assert signal[0, draw] == pytest.approx(found.signal[0] / whole, rel=1e-10)
        assert noise[0, draw] == pytest.approx(found.noise[0] / whole, rel=1e-10)


def test_permutations_take_no_memory_for_the_projectors_of_all_bases():
    nodes, bases = 400, [torch.eye(400, dtype=torch.float64)[:, :1]] * 60
    gradients = torch.randn(3, nodes, 2, generator=torch.Generator().manual_seed(5))
    tracemalloc.start()
    try:
        permuted_signal_and_noise(bases, gradients, 1, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Whole they are 77 MB; a block of 64 rows of each is 12 MB, and NumPy holds two of them.
    assert peak < 40e6


def test_permutations_of_gradients_that_share_their_mean_over_nodes_have_no_lift_of_one():
    """What all nodes have in common no permutation takes away, and a graph has it in its lowest mode."""
    spectrum = eigenpairs(laplacian(nx.cycle_graph(20)))
    generator = torch.Generator().manual_seed(4)
    gradients = torch.randn(50, 20, 6, dtype=torch.float64, generator=generator) + 1.0
    signal, noise = permuted_signal_and_noise([spectrum.eigenvectors[:, :4]], gradients, 50, seed=0)
    # All signal lies in the constant mode, and a fifth of the noise in a fifth of the modes.
    assert np.allclose(signal / noise / signal.mean(), 5.0, rtol=0.3)
