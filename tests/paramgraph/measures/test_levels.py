"""Bands that end among the copies of an eigenvalue: what they hold depends on no basis and on no names of nodes."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import (
    Gram,
    adjacency,
    band_energy,
    compaction,
    eigenpairs,
    laplacian,
    mode_energy,
    mode_signal_to_noise,
    project_gradients,
    signal_to_noise,
)
from paramgraph.measures import band_modes, permuted_moments, rotated_moments

GRAPHS = {
    "star": nx.star_graph(19),
    "complete": nx.complete_graph(20),
    "ring": nx.cycle_graph(20),
    "hypercube": nx.convert_node_labels_to_integers(nx.hypercube_graph(4)),
    "no edges": nx.empty_graph(20),
}


@pytest.fixture(params=GRAPHS)
def renamed(request, generator):
    """Two spectra of one graph, its nodes in another order in the second, and a signal on both."""
    graph = GRAPHS[request.param]
    order = torch.randperm(len(graph), generator=generator)
    W = nx.to_numpy_array(graph)
    X = torch.randn(6, len(graph), 3, generator=generator, dtype=torch.float64)
    pairs = [eigenpairs(laplacian(W)), eigenpairs(laplacian(W[order][:, order]))]
    return pairs, (X, X[:, order])


def test_energies_do_not_depend_on_the_names_of_nodes(renamed):
    (one, other), (X, Y) = renamed
    for measure in (mode_energy, band_energy):
        torch.testing.assert_close(measure(one, X[0]), measure(other, Y[0]))
    for share in (0.1, 0.2, 0.5):
        assert compaction(one, X[0], share) == pytest.approx(compaction(other, Y[0], share))
    for measure in (signal_to_noise, mode_signal_to_noise):
        np.testing.assert_allclose(measure(one, X).signal, measure(other, Y).signal, atol=1e-9)
    given = project_gradients(other, Y)
    np.testing.assert_allclose(signal_to_noise(one, X).noise, signal_to_noise(other, given).noise)


def test_sums_over_levels_and_over_all_stay(renamed):
    (one, _), (X, _) = renamed
    direct = (one.eigenvectors.T @ X[0]).square().sum(dim=1)
    energy = mode_energy(one, X[0])
    assert float(energy.sum()) == pytest.approx(float(X[0].square().sum()))
    values = one.eigenvalues.round(decimals=6)
    for value in values.unique():
        assert float(energy[values == value].sum()) == pytest.approx(float(direct[values == value].sum()))


@pytest.mark.parametrize("count", [1, 3, 4, 11, 16])
def test_modes_of_a_band_catch_what_the_energies_say_and_nulls_know_it(renamed, count):
    (one, other), (X, Y) = renamed
    low, high = band_modes(one, 0, count), band_modes(one, count, one.modes)
    assert float((low.T @ X[0]).square().sum()) == pytest.approx(float(mode_energy(one, X[0])[:count].sum()))
    both = low @ low.T + high @ high.T
    torch.testing.assert_close(both, torch.eye(one.nodes, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(low.square().sum()) == pytest.approx(count)
    for moments in (permuted_moments, rotated_moments):
        first, second = moments(low, X[0]), moments(band_modes(other, 0, count), Y[0])
        assert first.mean == pytest.approx(second.mean)
        assert first.deviation == pytest.approx(second.deviation, abs=1e-7)


def test_moments_of_rotations_of_a_cut_level_are_those_of_random_rotations(generator):
    spectrum = eigenpairs(laplacian(nx.star_graph(7)))
    X = torch.randn(8, 2, generator=generator, dtype=torch.float64)
    factor = band_modes(spectrum, 0, 3)
    draws = []
    for _ in range(4000):
        Q, R = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))
        draws.append(
            float(((Q * R.diagonal().sign()) @ factor).T.matmul(X).square().sum() / X.square().sum())
        )
    found = rotated_moments(factor, X)
    assert found.mean == pytest.approx(np.mean(draws), abs=4 * found.deviation / 4000**0.5)
    assert found.deviation == pytest.approx(np.std(draws), rel=0.06)


def test_a_share_that_ends_among_copies_which_the_spectrum_may_not_hold_is_refused(generator):
    L, X = laplacian(GRAPHS["complete"]), torch.randn(20, 3, generator=generator)
    with pytest.raises(ValueError, match="raise k"):
        compaction(eigenpairs(L, k=6), X)
    ring = laplacian(GRAPHS["ring"])
    assert compaction(eigenpairs(ring, k=6), X) == pytest.approx(compaction(eigenpairs(ring), X))


def test_neighbours_that_go_on_for_longer_than_a_level_are_parted_at_their_widest_gaps():
    # One strong mode, and 20 pairs of weak ones: no gap is wider than 1e-7 of it, but all together span 24e-7.
    gaps = np.tile([3e-8, 9e-8], 20)[:-1]
    spectrum = eigenpairs(adjacency(np.diag([1.0, *(1e-4 - np.cumsum([0.0, *gaps]))])))
    energy = mode_energy(spectrum, spectrum.eigenvectors[:, 11].contiguous())
    expected = torch.zeros(41, dtype=torch.float64)
    expected[11:13] = 0.5  # modes 1 and 2 are a pair, 3 and 4, ..., 11 and 12
    torch.testing.assert_close(energy, expected)


def test_copies_that_float32_weights_part_are_one_level(generator):
    graph = Gram()(Data(x=torch.randn(30, 10, generator=generator)))
    spectrum = eigenpairs(adjacency(graph))
    assert 1e-9 < float(spectrum.eigenvalues[10:].abs().max()) < 1e-6  # 20 zeros, as float32 knows them
    energy = mode_energy(spectrum, torch.randn(30, generator=generator))
    torch.testing.assert_close(energy[10:], energy[10:].mean().expand(20))
