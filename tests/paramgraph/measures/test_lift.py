import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import band_lift, eigenpairs, laplacian, signal_to_noise


@pytest.fixture
def spectrum():
    return eigenpairs(laplacian(nx.path_graph(20)))


def noise(batches: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.randn(batches, 20, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def signal(spectrum, modes: slice) -> torch.Tensor:
    return spectrum.eigenvectors[:, modes].sum(dim=1, keepdim=True).expand(20, 6)


def test_signal_in_one_band_lifts_that_band_alone(spectrum):
    found = band_lift(signal_to_noise(spectrum, noise() + 5 * signal(spectrum, slice(0, 4))))
    assert found.low[0] > 1
    assert (found.high[1:] < 1).all()


def test_signal_in_all_modes_alike_lifts_none(spectrum):
    found = band_lift(signal_to_noise(spectrum, noise() + 5 * signal(spectrum, slice(None))))
    # Signal 25 a mode and column against noise 1: a few per cent of sampling error.
    np.testing.assert_allclose(found.lift, 1.0, atol=0.25)


def test_lifts_weighted_by_noise_average_to_one(spectrum):
    statistics = signal_to_noise(spectrum, noise() + signal(spectrum, slice(0, 4)))
    found = band_lift(statistics)
    assert np.average(found.lift, weights=statistics.noise) == pytest.approx(1.0)


def test_scaling_the_gradients_changes_no_lift(spectrum):
    gradients = noise() + signal(spectrum, slice(0, 4))
    plain, scaled = (band_lift(signal_to_noise(spectrum, factor * gradients)) for factor in (1, 1000))
    np.testing.assert_allclose(scaled.lift, plain.lift, rtol=1e-9)


def test_batches_of_unlike_size_widen_the_ratio_and_not_the_lift(spectrum):
    sizes = torch.linspace(0.2, 3.0, 24, dtype=torch.float64)[:, None, None]
    gradients = sizes * (0.3 * noise() + signal(spectrum, slice(0, 4)))
    statistics = signal_to_noise(spectrum, gradients)
    found = band_lift(statistics)
    assert (found.high[0] - found.low[0]) / found.lift[0] < (
        (statistics.snr_high[0] - statistics.snr_low[0]) / statistics.snr[0]
    )


def test_no_noise_has_no_lift(spectrum):
    assert np.isnan(band_lift(signal_to_noise(spectrum, torch.ones(4, 20, 2))).lift).all()
