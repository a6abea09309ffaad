import numpy as np
import pytest
import torch

from paramgraph import compaction, eigenpairs, laplacian, project_gradients, signal_to_noise
from paramgraph.comparison import (
    compaction_beside_nulls,
    energy_by_band,
    noise_by_band,
    noise_facts,
    permuted_noise,
    rewired_compaction,
    shift_of,
)
from paramgraph.measures import (
    band_edges,
    jackknife_statistics,
    permuted_energies,
    permuted_moments,
    rotated_moments,
)

FIELDS = ("signal", "noise", "snr", "left_signal", "left_noise", "energy_share")


@pytest.fixture(name="X")
def signal(generator):
    return torch.randn(20, 3, generator=generator, dtype=torch.float64) + 0.3


@pytest.fixture
def spectrum(graphs):
    return eigenpairs(laplacian(graphs["weighted_random"]))


def test_compaction_is_that_of_the_measure_of_this_name(spectrum, X):
    found = compaction_beside_nulls(spectrum, X, 4, ("permuted", "rotated"))
    assert found["compaction"] == pytest.approx(compaction(spectrum, X))
    assert found["compaction_share"] == 0.2
    basis = spectrum.eigenvectors[:, :4]
    assert found["compaction_permuted"] == permuted_moments(basis, X).mean
    assert found["z_rotated"] == rotated_moments(basis, X).z_score(found["compaction"])


def test_deviation_of_each_band_is_that_of_permutations(spectrum, X):
    found = energy_by_band(spectrum, X, (0, 5, 20), permuted=True)
    draws = permuted_energies([spectrum.eigenvectors[:, :5], spectrum.eigenvectors[:, 5:]], X, 2000, seed=0)
    # Four standard errors of a mean, and of a deviation, over 2,000 draws.
    assert found["null_energy"] == pytest.approx(draws.mean(axis=1).tolist(), abs=4 * draws.std() / 2000**0.5)
    assert found["null_energy_sd"] == pytest.approx(draws.std(axis=1).tolist(), rel=4 / 4000**0.5)


def test_band_without_modes_holds_nothing(spectrum, X):
    found = energy_by_band(spectrum, X, (0, 0, 20), permuted=True)
    assert found["energy"] == pytest.approx([0.0, 1.0])
    assert found["null_energy_sd"][0] == 0.0


@pytest.mark.parametrize("name", ["complete", "star", "no_edges"])
def test_graphs_whose_degrees_leave_no_choice_have_no_rewired_one(graphs, name):
    X = torch.ones(graphs[name].num_nodes, 1, dtype=torch.float64)
    assert rewired_compaction(graphs[name], X, 1, "auto", 0) is None


def test_rewired_graph_gathers_what_a_graph_of_its_degrees_does(graphs, X):
    # The first mode is known from the degrees alone, and rewiring keeps those of an unweighted graph.
    graph = graphs["weighted_random"]
    graph.edge_weight = torch.ones_like(graph.edge_weight)
    degrees = torch.bincount(graph.edge_index[0], minlength=20).double()
    first = (degrees.sqrt() / degrees.sum().sqrt())[:, None]
    expected = float((first.T @ X).square().sum() / X.square().sum())
    assert rewired_compaction(graph, X, 1, "auto", 3) == pytest.approx(expected)


def test_signed_graphs_have_the_adjacency_unless_asked_otherwise(graphs):
    graph = graphs["grid"]
    assert np.isclose(eigenpairs(shift_of(graph, "auto")).eigenvalues[0], 0.0, atol=1e-12)
    graph.signed = True
    assert shift_of(graph, "auto").kind == "adjacency"
    assert shift_of(graph, "laplacian").kind == "laplacian"


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
