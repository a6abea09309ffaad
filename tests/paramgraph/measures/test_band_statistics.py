import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import eigenpairs, laplacian, pool_bands, signal_to_noise
from paramgraph.measures import FIFTHS, LOW_BANDS, band_edges

NODES, WIDTH = 20, 6
SPECTRUM = eigenpairs(laplacian(nx.random_geometric_graph(NODES, 0.4, seed=1)))
U = SPECTRUM.eigenvectors
# Signal in the lowest fifth only; noise grows with frequency.
LEVEL = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64).repeat_interleave(4)
SPREAD = torch.tensor([0.5, 1.0, 1.0, 2.0, 2.0], dtype=torch.float64).repeat_interleave(4)
TRUE_SIGNAL = np.array([4.0 * WIDTH, 0, 0, 0, 0])
TRUE_NOISE = 4 * WIDTH * np.array([0.25, 1, 1, 4, 4])


def gradients(batches: int, seed: int, level: torch.Tensor = LEVEL) -> torch.Tensor:
    noise = torch.randn(
        batches, NODES, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return U @ (level[:, None] + SPREAD[:, None] * noise)


@pytest.fixture(scope="module")
def repeated():
    return [signal_to_noise(SPECTRUM, gradients(12, seed)) for seed in range(300)]


def test_signal_and_noise_are_unbiased(repeated):
    signal = np.array([found.signal for found in repeated])
    noise = np.array([found.noise for found in repeated])
    # Means of 300 repetitions: five standard errors leave one false alarm in 10^5 for these fixed seeds.
    assert (abs(signal.mean(0) - TRUE_SIGNAL) < 5 * signal.std(0) / np.sqrt(300)).all()
    assert (abs(noise.mean(0) - TRUE_NOISE) < 5 * noise.std(0) / np.sqrt(300)).all()


def test_pure_noise_has_a_ratio_around_zero_on_both_sides(repeated):
    ratio = np.array([found.snr[1:] for found in repeated])
    # A clipped estimator is biased by about 1 / batches = 0.08; this is unbiased to a tenth of that.
    assert abs(ratio.mean()) < 0.008
    assert 0.3 < (ratio < 0).mean() < 0.7


def test_intervals_cover_about_as_often_as_they_say(repeated):
    truth = TRUE_SIGNAL / TRUE_NOISE
    covered = np.mean([(found.snr_low <= truth) & (truth <= found.snr_high) for found in repeated], axis=0)
    # 95 % with 12 batches of 24 numbers a band: the jackknife of a ratio is a little off, never far.
    assert (covered > 0.88).all()
    assert (covered <= 1.0).all()


def test_signal_stands_out_and_noise_does_not(repeated):
    assert all(found.z[0] > 3 for found in repeated)
    assert np.mean([abs(found.z[1:]) < 3 for found in repeated]) > 0.95


def test_jackknife_is_the_one_that_leaves_batches_out():
    G = gradients(5, 0)
    whole = signal_to_noise(SPECTRUM, G)
    left = []
    for batch in range(5):
        rest = torch.cat([G[:batch], G[batch + 1 :]])
        left.append(signal_to_noise(SPECTRUM, rest).snr)
    spread = np.sqrt(4 / 5 * np.square(left - np.mean(left, axis=0)).sum(axis=0))
    np.testing.assert_allclose(whole.z, whole.snr / spread, rtol=1e-9)


def test_estimates_are_those_of_the_formulas_written_out():
    G = gradients(6, 1)
    P = (U.T @ G).numpy()
    mean, variance = P.mean(0), P.var(0, ddof=1)
    signal = ((mean**2).sum(1) - variance.sum(1) / 6).reshape(5, 4).sum(1)
    found = signal_to_noise(SPECTRUM, G)
    np.testing.assert_allclose(found.signal, signal, rtol=1e-10)
    np.testing.assert_allclose(found.noise, variance.sum(1).reshape(5, 4).sum(1), rtol=1e-10)
    np.testing.assert_allclose(found.energy_share.sum(), 1.0, rtol=1e-12)


def test_sequence_and_tensor_and_float32_agree():
    G = gradients(4, 2).float()
    one, other = signal_to_noise(SPECTRUM, G), signal_to_noise(SPECTRUM, list(G.double()))
    assert np.array_equal(one.snr, other.snr)


def test_ratio_does_not_see_the_scale_of_the_gradients():
    G = gradients(5, 3)
    np.testing.assert_allclose(
        signal_to_noise(SPECTRUM, 1e-6 * G).snr, signal_to_noise(SPECTRUM, G).snr, rtol=1e-9
    )


def test_identical_batches_have_no_noise():
    found = signal_to_noise(SPECTRUM, U[:, :1].expand(4, NODES, 1))
    assert found.noise.max() < 1e-15
    assert found.energy_share[0] == pytest.approx(1.0)


def test_gradients_of_zeros_give_nan_and_no_warning():
    assert np.isnan(signal_to_noise(SPECTRUM, torch.zeros(3, NODES, 2)).snr).all()


def test_empty_band_is_not_a_number():
    found = signal_to_noise(SPECTRUM, gradients(4, 0), bands=LOW_BANDS)
    assert found.modes.tolist() == [0, 1, 3, 4, 4, 8]
    assert np.isnan(found.snr[0])
    assert not np.isnan(found.snr[1:]).any()


def test_incomplete_spectrum_has_bands_of_its_own_modes():
    spectrum = eigenpairs(laplacian(nx.path_graph(NODES)), k=10)
    assert signal_to_noise(spectrum, gradients(4, 0)).modes.tolist() == [2] * 5


def test_rows_are_plain_numbers_with_all_names():
    rows = signal_to_noise(SPECTRUM, gradients(4, 0)).rows()
    assert len(rows) == 5
    assert set(rows[0]) >= {"low", "high", "modes", "energy_share", "snr", "snr_low", "snr_high", "z"}
    assert type(rows[0]["snr"]) is float


def test_gradients_are_not_changed():
    G = gradients(4, 0)
    before = G.clone()
    signal_to_noise(SPECTRUM, G)
    assert torch.equal(G, before)


@pytest.mark.parametrize("batches", [1, 2])
def test_too_few_batches_raise(batches):
    with pytest.raises(ValueError, match="at least 3"):
        signal_to_noise(SPECTRUM, gradients(batches, 0))


def test_gradient_that_is_not_finite_raises():
    G = gradients(4, 0)
    G[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        signal_to_noise(SPECTRUM, G)


@pytest.mark.parametrize("modes", [0, 1, 5, 384])
def test_bands_are_a_partition(modes):
    edges = band_edges(modes)
    assert edges[0] == 0
    assert edges[-1] == modes
    assert list(edges) == sorted(edges)
    assert len(edges) == len(FIFTHS)


@pytest.mark.parametrize("bands", [(0, 1, 0.5), (0.1, 1), (0, 0.5), (0,), (), (0, 0.5, 0.5, 1)])
def test_bands_must_rise_from_zero_to_one(bands):
    with pytest.raises(ValueError, match="rise from 0 to 1"):
        band_edges(10, bands)


@pytest.fixture
def path():
    return eigenpairs(laplacian(nx.path_graph(10)))


def noise(batches: int, seed: int, nodes: int = 10) -> torch.Tensor:
    return torch.randn(batches, nodes, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pooling_one_matrix_changes_nothing(path):
    one = signal_to_noise(path, noise(8, 0) + 0.3)
    pooled = pool_bands([one])
    # One division by the whole noise: a rounding or two.
    np.testing.assert_allclose(pooled.snr, one.snr, rtol=1e-12)
    np.testing.assert_allclose(pooled.snr_low, one.snr_low, rtol=1e-10)


def test_the_scale_of_a_gradient_does_not_matter(path):
    first, second = noise(8, 0) + 0.3, noise(8, 1)
    plain = pool_bands([signal_to_noise(path, first), signal_to_noise(path, second)])
    scaled = pool_bands([signal_to_noise(path, 1000 * first), signal_to_noise(path, second)])
    np.testing.assert_allclose(scaled.snr, plain.snr, rtol=1e-9)


def test_the_order_of_matrices_does_not_matter(path):
    parts = [signal_to_noise(path, noise(8, seed)) for seed in range(3)]
    np.testing.assert_allclose(pool_bands(parts).snr, pool_bands(parts[::-1]).snr, rtol=1e-9)


def test_two_copies_are_no_more_evidence_than_one(path):
    one = signal_to_noise(path, noise(8, 0) + 0.3)
    pooled = pool_bands([one, one])
    np.testing.assert_allclose(pooled.snr_high - pooled.snr_low, one.snr_high - one.snr_low, rtol=1e-9)


def test_pure_noise_pools_to_no_signal(path):
    pooled = pool_bands([signal_to_noise(path, noise(12, seed)) for seed in range(60)])
    # 60 x 10 modes x 6 columns, 12 batches: the ratio's standard error is about 0.012 a band.
    assert np.abs(pooled.snr).max() < 0.05


def test_shares_of_energy_add_up_to_one(path):
    pooled = pool_bands([signal_to_noise(path, noise(8, seed)) for seed in range(3)])
    assert pooled.energy_share.sum() == pytest.approx(1.0)


def test_nothing_to_pool_is_refused():
    with pytest.raises(ValueError, match="nothing to pool"):
        pool_bands([])


def test_other_bands_are_refused(path):
    with pytest.raises(ValueError, match="same bands"):
        pool_bands([signal_to_noise(path, noise(8, 0)), signal_to_noise(path, noise(8, 0), (0, 0.5, 1))])


def test_gradients_without_noise_are_refused(path):
    same = torch.ones(4, 10, 2)
    with pytest.raises(ValueError, match="without any noise"):
        pool_bands([signal_to_noise(path, same)])
