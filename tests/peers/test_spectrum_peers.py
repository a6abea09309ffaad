"""The same graphs through other libraries."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pygsp import graphs as pygsp_graphs
from scipy.sparse import csgraph
from scipy.sparse.linalg import eigsh
from torch_geometric.utils import from_scipy_sparse_matrix, get_laplacian, to_scipy_sparse_matrix

from paramgraph import adjacency, eigenpairs, laplacian, list_solvers

GRAPHS = {
    "karate": nx.karate_club_graph(),
    "path and loners": nx.disjoint_union(nx.path_graph(5), nx.empty_graph(2)),
    "two rings": nx.disjoint_union(nx.cycle_graph(6), nx.cycle_graph(4)),
    "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(5, 6)),
}


@pytest.fixture(params=GRAPHS, ids=lambda name: name.replace(" ", "_"))
def weights(request: pytest.FixtureRequest) -> sp.csr_array:
    return nx.to_scipy_sparse_array(GRAPHS[request.param], dtype=np.float64, format="csr")


@pytest.mark.parametrize("normalization", [None, "sym"])
def test_laplacian_is_that_of_scipy(weights, normalization):
    expected = csgraph.laplacian(weights, normed=normalization == "sym")
    np.testing.assert_allclose(laplacian(weights, normalization).to_dense(), expected.toarray(), atol=1e-15)


def test_laplacians_are_those_of_networkx():
    graph = GRAPHS["karate"]
    for normalization, peer in ((None, nx.laplacian_matrix), ("sym", nx.normalized_laplacian_matrix)):
        expected = np.asarray(peer(graph).toarray(), dtype=float)
        np.testing.assert_allclose(laplacian(graph, normalization).to_dense(), expected, atol=1e-14)


def test_spectrum_is_that_of_networkx(weights):
    graph = nx.from_scipy_sparse_array(weights)
    expected = np.sort(nx.normalized_laplacian_spectrum(graph).real)
    np.testing.assert_allclose(eigenpairs(laplacian(weights)).eigenvalues.numpy(), expected, atol=1e-13)


def test_strongest_mode_is_that_of_networkx(weights):
    expected = np.sort(nx.adjacency_spectrum(nx.from_scipy_sparse_array(weights)).real)[::-1]
    # networkx uses an unsymmetric solver, whose double eigenvalues are good to the root of the rounding.
    np.testing.assert_allclose(eigenpairs(adjacency(weights)).eigenvalues.numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
def test_laplacian_is_that_of_pyg_but_for_the_isolated_nodes(weights, normalization):
    edge_index, edge_weight = from_scipy_sparse_matrix(weights)
    index, values = get_laplacian(edge_index, edge_weight, normalization, num_nodes=weights.shape[0])
    expected = to_scipy_sparse_matrix(index, values, weights.shape[0]).toarray()
    if normalization is not None:
        isolated = weights.sum(axis=1) == 0
        expected[isolated, isolated] = 0.0  # PyG puts 1 there
    np.testing.assert_allclose(laplacian(weights, normalization).to_dense(), expected, atol=1e-14)


def test_components_are_those_of_scipy(weights):
    operator = laplacian(weights)
    count, labels = csgraph.connected_components(weights, directed=False)
    assert operator.components == count
    assert np.array_equal(operator.component_labels, labels)


def test_eigenvalues_are_those_of_torch(weights):
    expected = torch.linalg.eigvalsh(torch.tensor(weights.toarray())).flip(0)
    torch.testing.assert_close(eigenpairs(adjacency(weights)).eigenvalues, expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize(("normalization", "kind"), [(None, "combinatorial"), ("sym", "normalized")])
def test_laplacian_and_spectrum_are_those_of_pygsp(normalization, kind):
    # Without loners: PyGSP divides by their degree.
    weights = nx.to_scipy_sparse_array(GRAPHS["karate"], dtype=np.float64, format="csr")
    peer = pygsp_graphs.Graph(weights.toarray(), lap_type=kind)
    peer.compute_fourier_basis()
    operator = laplacian(weights, normalization)
    np.testing.assert_allclose(operator.to_dense(), peer.L.toarray(), atol=1e-13)
    np.testing.assert_allclose(eigenpairs(operator).eigenvalues.numpy(), peer.e, atol=1e-12)


@pytest.mark.parametrize("solver", [name for name in list_solvers() if name != "dense"])
def test_smallest_pairs_are_those_of_scipys_eigsh(solver):
    operator = laplacian(nx.random_regular_graph(5, 300, seed=4))
    expected = np.sort(eigsh(operator.to_scipy(), k=6, sigma=-0.01, return_eigenvectors=False))
    spectrum = eigenpairs(operator, k=6, solver=solver)
    # Both have residuals below 1e-8, and eigenvalues good to its square over the gap.
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, atol=1e-10)


def test_signed_laplacian_is_that_of_scipy_on_absolute_degrees(weights):
    flipped = weights.copy()
    rows = np.repeat(np.arange(flipped.shape[0]), np.diff(flipped.indptr))
    flipped.data[(rows + flipped.indices) % 2 == 1] *= -1
    expected = np.diag(abs(flipped).sum(axis=1)) - flipped.toarray()
    np.testing.assert_allclose(laplacian(flipped, None, signed=True).to_dense(), expected, atol=1e-15)
