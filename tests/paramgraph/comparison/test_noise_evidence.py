import numpy as np
import pytest
import torch

from paramgraph import eigenpairs, laplacian, project_gradients, signal_to_noise
from paramgraph.comparison import noise_by_band, noise_facts, permuted_noise
from paramgraph.measures import band_edges, jackknife_statistics

FIELDS = ("signal", "noise", "snr", "left_signal", "left_noise", "energy_share")


@pytest.fixture
def gradients(generator):
    return list(0.4 + torch.randn(6, 20, 3, generator=generator, dtype=torch.float64))


@pytest.fixture
def operator(graphs):
    return laplacian(graphs["weighted_random"])


def test_rest_of_a_part_of_the_spectrum_is_the_sum_of_its_other_bands(operator, gradients):
    whole, part = eigenpairs(operator), eigenpairs(operator, k=5)
    wanted = signal_to_noise(whole, gradients, (0.0, 0.25, 1.0))
    shares = (0.0, 0.25, 1.0)
    found = noise_by_band(project_gradients(part, gradients), gradients, part, (0, 5), shares)
    for name in FIELDS:
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-6), name  # two solvers


def test_all_modes_give_what_the_function_of_one_spectrum_gives(operator, gradients):
    spectrum, bands = eigenpairs(operator), (0.0, 0.5, 1.0)
    projected = project_gradients(spectrum, gradients)
    found = noise_by_band(projected, gradients, spectrum, band_edges(20, bands), bands)
    for name in FIELDS:
        assert getattr(found, name) == pytest.approx(
            getattr(signal_to_noise(spectrum, gradients, bands), name)
        )


def test_gradient_that_is_the_same_on_all_nodes_is_permuted_into_itself(operator, gradients):
    same = [gradient[:1].expand(20, 3) for gradient in gradients]
    spectrum, bands = eigenpairs(operator), (0.0, 0.5, 1.0)
    null = permuted_noise(spectrum, same, band_edges(20, bands), bands, seed=0)
    assert null.snr == pytest.approx(signal_to_noise(spectrum, same, bands).snr)


def test_facts_of_bands_are_plain_and_in_their_intervals(operator, gradients):
    facts = noise_facts(signal_to_noise(eigenpairs(operator), gradients))
    assert facts["snr_low"] == facts["snr"][0]
    assert facts["snr_high"] == facts["snr"][-1]
    assert facts["lift_low_interval"][0] < facts["lift_low"] < facts["lift_low_interval"][1]
    assert facts["gain_interval"][0] < facts["gain"] < facts["gain_interval"][1]


def test_without_signal_in_the_whole_spectrum_there_is_no_lift():
    one, left = np.ones(2), np.ones((2, 4))
    none = jackknife_statistics(0 * one, one, np.array([1, 1]), one, -one, one, -left, left)
    facts = noise_facts(none)
    assert facts["lift_low"] is None
    assert facts["lift_low_interval"] is None
    assert facts["snr_low"] == -1.0
