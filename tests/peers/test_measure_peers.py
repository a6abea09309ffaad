"""Measures beside networkx, scikit-learn and SciPy."""

import networkx as nx
import numpy as np
import pytest
import scipy.spatial.distance
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from paramgraph import algebraic_connectivity, clustering_agreement, edge_agreement, spectral_distance

SMALL_WORLD = nx.connected_watts_strogatz_graph(40, 6, 0.2, seed=3)


def weighted(seed: int) -> nx.Graph:
    graph, numbers = SMALL_WORLD.copy(), np.random.default_rng(seed)
    nx.set_edge_attributes(graph, {edge: numbers.uniform(0.1, 2) for edge in graph.edges}, "weight")
    return graph


@pytest.mark.parametrize("graph", [SMALL_WORLD, weighted(1), nx.barbell_graph(6, 3)], ids=str)
def test_connectivity_is_that_of_networkx(graph):
    # networkx stops its iteration at 1e-8.
    assert algebraic_connectivity(graph) == pytest.approx(
        nx.algebraic_connectivity(graph, weight="weight", seed=0), abs=1e-6
    )


def test_distance_of_spectra_of_one_size_is_the_mean_difference_of_sorted_eigenvalues():
    first, second = weighted(1), nx.cycle_graph(40)
    values = [np.sort(nx.normalized_laplacian_spectrum(graph)) for graph in (first, second)]
    assert spectral_distance(first, second) == pytest.approx(np.abs(values[0] - values[1]).mean(), rel=1e-10)


def test_jaccard_and_ruzicka_are_those_of_scipy():
    first, second = (np.triu(nx.to_numpy_array(graph), 1) for graph in (weighted(1), nx.cycle_graph(40)))
    pairs = np.triu_indices(40, 1)
    a, b = first[pairs], second[pairs]
    found = edge_agreement(first + first.T, second + second.T)
    assert found.jaccard == pytest.approx(1 - scipy.spatial.distance.jaccard(a > 0, b > 0), rel=1e-12)
    # With weights that are 0 or more, Ruzicka is Bray-Curtis in another scale: R = (1 - B) / (1 + B).
    bray = scipy.spatial.distance.braycurtis(a, b)
    assert found.ruzicka == pytest.approx((1 - bray) / (1 + bray), rel=1e-12)


def test_clusters_are_those_of_scikit_learn():
    graph = nx.planted_partition_graph(4, 15, 0.7, 0.05, seed=5)
    peer = SpectralClustering(4, affinity="precomputed", random_state=0).fit_predict(nx.to_numpy_array(graph))
    ours = clustering_agreement(graph, peer)
    assert ours.adjusted_rand == 1.0
    blocks = [node // 15 for node in graph]
    assert clustering_agreement(graph, blocks).adjusted_rand == adjusted_rand_score(peer, blocks)
