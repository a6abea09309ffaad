import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import (
    adjacency,
    band_energy,
    compaction,
    eigenpairs,
    laplacian,
    mode_energy,
    mode_signal_to_noise,
    signal_to_noise,
    smoothness,
    spectral_gap,
)
from paramgraph.spectra import zero_operator

OPERATOR = laplacian(nx.random_geometric_graph(30, 0.4, seed=1))
SPECTRUM = eigenpairs(OPERATOR)


def signal(nodes: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(nodes, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), width=st.integers(1, 5))
def test_energies_of_all_modes_add_up_to_the_squared_norm(seed, width):
    X = signal(30, width, seed)
    torch.testing.assert_close(mode_energy(SPECTRUM, X).sum(), X.square().sum(), rtol=1e-12, atol=0)


def test_energy_of_an_eigenvector_lies_in_its_mode():
    energy = mode_energy(SPECTRUM, SPECTRUM.eigenvectors[:, 3])
    np.testing.assert_allclose(energy.numpy(), np.eye(30)[3], atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_energy_is_float64_whatever_the_signal(dtype):
    X = signal(30, 2).to(dtype)
    torch.testing.assert_close(mode_energy(SPECTRUM, X), mode_energy(SPECTRUM, X.double()), rtol=0, atol=0)


@pytest.mark.parametrize("X", [torch.ones(29, 2), torch.ones(()), torch.full((30, 1), math.nan)], ids=str)
def test_bad_signal_raises(X):
    with pytest.raises(ValueError, match=r"signal"):
        mode_energy(SPECTRUM, X)


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_no_nodes_have_no_energy(shape):
    nothing = laplacian(np.zeros((0, 0)))
    assert mode_energy(eigenpairs(nothing), torch.zeros(shape)).shape == (0,)
    assert math.isnan(smoothness(nothing, torch.zeros(shape)))


@pytest.mark.parametrize("mode", [0, 7, 29])
def test_smoothness_of_an_eigenvector_is_its_eigenvalue(mode):
    value = smoothness(OPERATOR, SPECTRUM.eigenvectors[:, mode])
    assert value == pytest.approx(SPECTRUM.eigenvalues[mode].item(), abs=1e-14)


def test_smoothness_is_the_mean_frequency_of_the_energy():
    X = signal(30, 4)
    energy = mode_energy(SPECTRUM, X)
    expected = (energy * SPECTRUM.eigenvalues).sum() / energy.sum()
    assert smoothness(OPERATOR, X) == pytest.approx(expected.item(), rel=1e-12)


def test_smoothness_of_nothing_is_not_a_number():
    assert math.isnan(smoothness(OPERATOR, torch.zeros(30, 2)))


def test_smoothness_of_a_signal_that_is_not_finite_raises():
    with pytest.raises(ValueError, match="NaN"):
        smoothness(OPERATOR, torch.full((30, 1), math.inf))


def test_gap_is_the_algebraic_connectivity_of_networkx():
    graph = nx.cycle_graph(9)
    assert spectral_gap(eigenpairs(laplacian(graph, None))) == pytest.approx(
        nx.algebraic_connectivity(graph, method="lanczos"), abs=1e-6
    )


def test_gap_of_two_components_is_that_of_the_looser_one():
    graph = nx.disjoint_union(nx.complete_graph(4), nx.path_graph(3))
    assert spectral_gap(eigenpairs(laplacian(graph, None))) == pytest.approx(1.0, abs=1e-13)


def test_gap_of_an_adjacency_is_between_its_two_strongest_modes():
    assert spectral_gap(eigenpairs(adjacency(nx.complete_graph(4)), k=2)) == pytest.approx(4.0, abs=1e-13)


def test_gap_without_edges_is_zero():
    assert spectral_gap(eigenpairs(zero_operator(3))) == 0.0


def test_gap_needs_a_mode_after_the_zeros():
    with pytest.raises(ValueError, match="2 modes"):
        spectral_gap(eigenpairs(OPERATOR, k=1))


def test_energy_of_bands_is_that_of_their_modes():
    X = signal(30, 3)
    energy = mode_energy(SPECTRUM, X)
    expected = torch.stack([energy[:3].sum(), energy[3:15].sum(), energy[15:].sum()])
    torch.testing.assert_close(band_energy(SPECTRUM, X, (0, 0.1, 0.5, 1)), expected, rtol=1e-14, atol=0)


def test_energy_of_white_noise_is_the_share_of_modes():
    X = torch.eye(30)  # every direction alike, exactly
    torch.testing.assert_close(
        band_energy(SPECTRUM, X), torch.full((5,), 6.0, dtype=torch.float64), rtol=1e-12, atol=0
    )
    assert compaction(SPECTRUM, X, 0.3) == pytest.approx(0.3, rel=1e-12)


@pytest.mark.parametrize(("share", "expected"), [(1 / 30, 0.0), (0.1, 0.0), (4 / 30, 1.0), (1, 1.0)])
def test_compaction_of_an_eigenvector_is_a_step(share, expected):
    assert compaction(SPECTRUM, SPECTRUM.eigenvectors[:, 3], share) == pytest.approx(expected, abs=1e-13)


def test_compaction_is_the_same_of_an_incomplete_spectrum():
    X = signal(30, 4).bfloat16()
    assert compaction(eigenpairs(OPERATOR, k=7), X) == pytest.approx(compaction(SPECTRUM, X), rel=1e-12)


@pytest.mark.parametrize(
    ("share", "match"),
    [(0, "share is more"), (1.2, "share is more"), (0.01, "raise share"), (0.5, "raise k")],
)
def test_compaction_of_no_whole_mode_raises(share, match):
    with pytest.raises(ValueError, match=match):
        compaction(eigenpairs(OPERATOR, k=7), signal(30, 1), share)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e-30, 1e30, 1e170, 1e300])
def test_shares_and_means_know_nothing_of_the_size_of_a_signal(scale):
    L, X = laplacian(nx.path_graph(5)), torch.tensor([[1.0, 2.0], [0, 3], [-1, 1], [2, 2], [5, 0]]).double()
    assert smoothness(L, scale * X) == pytest.approx(smoothness(L, X), rel=1e-12)
    assert compaction(eigenpairs(L), scale * X, 0.4) == pytest.approx(
        compaction(eigenpairs(L), X, 0.4), rel=1e-12
    )


def test_compaction_of_nothing_is_not_a_number():
    assert math.isnan(compaction(SPECTRUM, torch.zeros(30, 2)))
    assert math.isnan(compaction(eigenpairs(laplacian(np.zeros((0, 0)))), torch.zeros(0, 2)))


def test_signal_to_noise_of_a_mode_has_its_closed_form():
    # One mode carries 2 in each batch, noise of +-1 lies in another: S = 4 and 0 - 4/3 / 4, N = 0 and 4/3.
    U = SPECTRUM.eigenvectors
    batches = [2 * U[:, [4]] + sign * U[:, [9]] for sign in (1.0, -1.0, 1.0, -1.0)]
    found = mode_signal_to_noise(SPECTRUM, batches)
    assert found.signal[4] == pytest.approx(4, rel=1e-12)
    assert found.noise[9] == pytest.approx(4 / 3, rel=1e-12)
    assert found.signal[9] == pytest.approx(-1 / 3, rel=1e-12)
    assert found.snr[9] == pytest.approx(-0.25, rel=1e-12)
    np.testing.assert_array_equal(found.modes, np.ones(30))


def test_signal_and_noise_of_modes_add_up_to_those_of_their_band():
    batches = torch.randn(6, 30, 4, generator=torch.Generator().manual_seed(3)) + 0.2
    modes, bands = mode_signal_to_noise(SPECTRUM, batches), signal_to_noise(SPECTRUM, batches)
    np.testing.assert_allclose(modes.signal.reshape(5, 6).sum(axis=1), bands.signal, rtol=1e-10)
    np.testing.assert_allclose(modes.left_noise.reshape(5, 6, 6).sum(axis=1), bands.left_noise, rtol=1e-10)


def test_signal_to_noise_of_no_modes_raises():
    with pytest.raises(ValueError, match="without modes"):
        mode_signal_to_noise(eigenpairs(laplacian(np.zeros((0, 0)))), torch.zeros(3, 0, 2))
