import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import eigenpairs, laplacian, pool_bands, signal_to_noise


@pytest.fixture
def spectrum():
    return eigenpairs(laplacian(nx.path_graph(10)))


def noise(batches: int, seed: int, nodes: int = 10) -> torch.Tensor:
    return torch.randn(batches, nodes, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pooling_one_matrix_changes_nothing(spectrum):
    one = signal_to_noise(spectrum, noise(8, 0) + 0.3)
    pooled = pool_bands([one])
    # One division by the whole noise: a rounding or two.
    np.testing.assert_allclose(pooled.snr, one.snr, rtol=1e-12)
    np.testing.assert_allclose(pooled.snr_low, one.snr_low, rtol=1e-10)


def test_the_scale_of_a_gradient_does_not_matter(spectrum):
    first, second = noise(8, 0) + 0.3, noise(8, 1)
    plain = pool_bands([signal_to_noise(spectrum, first), signal_to_noise(spectrum, second)])
    scaled = pool_bands([signal_to_noise(spectrum, 1000 * first), signal_to_noise(spectrum, second)])
    np.testing.assert_allclose(scaled.snr, plain.snr, rtol=1e-9)


def test_the_order_of_matrices_does_not_matter(spectrum):
    parts = [signal_to_noise(spectrum, noise(8, seed)) for seed in range(3)]
    np.testing.assert_allclose(pool_bands(parts).snr, pool_bands(parts[::-1]).snr, rtol=1e-9)


def test_two_copies_are_no_more_evidence_than_one(spectrum):
    one = signal_to_noise(spectrum, noise(8, 0) + 0.3)
    pooled = pool_bands([one, one])
    np.testing.assert_allclose(pooled.snr_high - pooled.snr_low, one.snr_high - one.snr_low, rtol=1e-9)


def test_pure_noise_pools_to_no_signal(spectrum):
    pooled = pool_bands([signal_to_noise(spectrum, noise(12, seed)) for seed in range(60)])
    # 60 x 10 modes x 6 columns, 12 batches: the ratio's standard error is about 0.012 a band.
    assert np.abs(pooled.snr).max() < 0.05


def test_shares_of_energy_add_up_to_one(spectrum):
    pooled = pool_bands([signal_to_noise(spectrum, noise(8, seed)) for seed in range(3)])
    assert pooled.energy_share.sum() == pytest.approx(1.0)


def test_nothing_to_pool_is_refused():
    with pytest.raises(ValueError, match="nothing to pool"):
        pool_bands([])


def test_other_bands_are_refused(spectrum):
    with pytest.raises(ValueError, match="same bands"):
        pool_bands(
            [signal_to_noise(spectrum, noise(8, 0)), signal_to_noise(spectrum, noise(8, 0), (0, 0.5, 1))]
        )


def test_gradients_without_noise_are_refused(spectrum):
    same = torch.ones(4, 10, 2)
    with pytest.raises(ValueError, match="without any noise"):
        pool_bands([signal_to_noise(spectrum, same)])
