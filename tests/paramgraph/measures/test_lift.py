import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import band_lift, effective_batch_gain, eigenpairs, laplacian, signal_to_noise
from paramgraph.measures import jackknife_statistics


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


def statistics(signal, noise, batches: int = 6, spread: float = 0.0):
    signal, noise = np.array(signal, float), np.array(noise, float)
    wobble = 1 + spread * np.linspace(-1, 1, batches)
    share = np.linspace(0, 1, len(signal) + 1)
    modes = np.full(len(signal), 4)
    left = signal[:, None] * wobble, noise[:, None] * wobble[::-1]
    return jackknife_statistics(share[:-1], share[1:], modes, signal, signal, noise, *left)


positive = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=1, max_size=5)


@given(positive, st.sampled_from([1, 3, 19]))
@settings(max_examples=40, deadline=None)
def test_default_is_the_closed_form_of_the_wiener_gains_and_never_below_one(bands, averaged):
    S, N = (np.array(each) for each in zip(*bands, strict=True))
    N_m = N / averaged
    left = (S * N_m / (S + N_m)).sum()
    expected = N_m.sum() * (1 / left - 1 / S.sum())
    found = effective_batch_gain(statistics(S, N), batches_averaged=averaged).gain
    # A difference of two nearly equal terms where signal is a thousand times the noise.
    assert found == pytest.approx(expected, rel=1e-6)
    assert found >= 1 - 1e-9


def test_bands_of_one_ratio_gain_nothing():
    assert effective_batch_gain(statistics([1, 2, 4], [0.5, 1, 2])).gain == pytest.approx(1.0)


@pytest.mark.parametrize("level", [0.1, 1.0, 7.0])
def test_shrinking_all_bands_alike_gains_nothing(level):
    found = effective_batch_gain(statistics([1, 2], [3, 0.5]), gains=[level, level])
    assert found.gain == pytest.approx(1.0)


def test_signal_in_a_quarter_of_the_noise_is_worth_four_batches():
    assert effective_batch_gain(statistics([2, 0, 0, 0], [1, 1, 1, 1])).gain == pytest.approx(4.0)


def test_throwing_the_signal_away_loses():
    assert effective_batch_gain(statistics([2, 1], [1, 1]), gains=[0.2, 1.0]).gain < 1


def test_gain_is_the_batch_size_at_which_an_unfiltered_gradient_points_as_well():
    S, N, h = np.array([3.0, 1.0]), np.array([1.0, 5.0]), np.array([0.8, 0.2])
    m = effective_batch_gain(statistics(S, N), gains=h).gain
    cosine = (h * S).sum() ** 2 / (S.sum() * (h**2 * (S + N)).sum())
    assert S.sum() / (S.sum() + N.sum() / m) == pytest.approx(cosine)


def test_interval_is_the_jackknife_of_the_gain():
    found = effective_batch_gain(statistics([3, 1], [1, 5], spread=0.1))
    assert found.low < found.gain < found.high
    sure = effective_batch_gain(statistics([3, 1], [1, 5]))
    assert sure.high - sure.low == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("signal", "noise"), [([-1, -2], [1, 1]), ([0, 0], [1, 1]), ([1, 2], [0, 0]), ([3, -2.9], [0.1, 1])]
)
def test_what_cannot_be_told_is_not_a_number(signal, noise):
    assert np.isnan(effective_batch_gain(statistics(signal, noise)).gain)


def test_empty_band_does_not_count():
    found = effective_batch_gain(statistics([0, 2, 0], [0, 1, 1]))
    assert found.gain == pytest.approx(2.0)


@pytest.mark.parametrize("gains", [[1.0], [1.0, float("nan")], []])
def test_gains_must_fit_the_bands(gains):
    with pytest.raises(ValueError, match="each of 2 bands"):
        effective_batch_gain(statistics([1, 1], [1, 1]), gains=gains)


@pytest.mark.parametrize("averaged", [0, 0.5, float("nan")])
def test_number_of_batches_is_checked(averaged):
    with pytest.raises(ValueError, match="1 or larger"):
        effective_batch_gain(statistics([1], [1]), batches_averaged=averaged)
