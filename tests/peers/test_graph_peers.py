"""Agreement with scikit-learn, NumPy, PyG, SciPy and networkx on what they also do."""

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.sparse import csgraph
from sklearn.covariance import GraphicalLasso, LedoitWolf
from sklearn.neighbors import kneighbors_graph
from torch_geometric.data import Data
from torch_geometric.transforms import (
    GDC,
    AddRandomWalkPE,
    Compose,
    LargestConnectedComponents,
    ToUndirected,
)
from torch_geometric.utils import (
    coalesce,
    contains_isolated_nodes,
    from_networkx,
    is_undirected,
    to_scipy_sparse_matrix,
)

from paramgraph import (
    Correlation,
    CosineKNN,
    GaussianKNN,
    Gram,
    RandomRewired,
    check_graph,
    connected_components,
    graph_from_networkx,
    graph_from_scipy,
    graph_to_networkx,
    graph_to_scipy,
    symmetrize,
)


def some_nodes(nodes: int = 120, width: int = 10) -> Data:
    source = torch.Generator().manual_seed(4)
    return Data(x=torch.randn(nodes, width, dtype=torch.float64, generator=source))


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("mutual", [False, True])
def test_cosine_neighbours_are_those_of_scikit_learn(k: int, mutual: bool) -> None:
    data = some_nodes()
    distance = kneighbors_graph(data.x.numpy(), k, mode="distance", metric="cosine").toarray()
    chosen = distance > 0
    linked = chosen & chosen.T if mutual else chosen | chosen.T
    expected = np.where(linked, 1.0 - np.maximum(distance, distance.T), 0.0)
    expected[expected < 0] = 0.0
    found = graph_to_scipy(CosineKNN(k=k, mutual=mutual)(data)).toarray()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)  # 1 - cos loses three digits


def test_all_correlations_are_those_of_numpy() -> None:
    data = some_nodes(40)
    expected = np.corrcoef(data.x.numpy())
    np.fill_diagonal(expected, 0.0)
    found = graph_to_scipy(Correlation(k=39, signed=True)(data)).toarray()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_edges_are_coalesced_and_undirected_in_the_eyes_of_pyg() -> None:
    graph = CosineKNN(k=4)(some_nodes())
    assert graph.is_coalesced()
    assert is_undirected(graph.edge_index, graph.edge_weight)
    assert not graph.has_self_loops()
    assert contains_isolated_nodes(graph.edge_index, 120) is graph.has_isolated_nodes()
    again, weight = coalesce(graph.edge_index, graph.edge_weight)
    assert torch.equal(again, graph.edge_index)
    assert torch.equal(weight, graph.edge_weight)
    assert graph.validate()


def test_matrix_is_that_of_pyg() -> None:
    graph = CosineKNN(k=4)(some_nodes())
    theirs = to_scipy_sparse_matrix(graph.edge_index, graph.edge_weight, graph.num_nodes)
    assert abs(graph_to_scipy(graph) - theirs).max() == 0


def test_diagonal_stands_where_the_matrix_has_it() -> None:
    graph = Gram()(some_nodes(15))
    theirs = to_scipy_sparse_matrix(graph.edge_index, graph.edge_weight, 15).toarray()
    np.testing.assert_array_equal(
        graph_to_scipy(graph).toarray(), theirs + np.diag(graph.node_weight.numpy())
    )


@pytest.mark.parametrize(
    "graph",
    [nx.karate_club_graph(), nx.gnp_random_graph(30, 0.05, seed=1), nx.star_graph(6), nx.empty_graph(4)],
    ids=["karate", "random", "star", "empty"],
)
def test_networkx_graphs_are_read_as_networkx_and_pyg_read_them(graph: nx.Graph) -> None:
    ours = graph_from_networkx(graph)
    expected = nx.to_numpy_array(graph)
    np.testing.assert_array_equal(graph_to_scipy(ours).toarray(), expected)
    bare = nx.Graph()
    bare.add_nodes_from(graph.nodes)
    bare.add_edges_from(graph.edges)
    theirs = from_networkx(bare)
    assert torch.equal(coalesce(theirs.edge_index), ours.edge_index)
    np.testing.assert_array_equal(nx.to_numpy_array(graph_to_networkx(ours)), expected)


def test_components_are_those_of_scipy_and_networkx() -> None:
    graph = nx.gnp_random_graph(60, 0.02, seed=2)
    ours = connected_components(graph_from_networkx(graph)).numpy()
    count, theirs = csgraph.connected_components(nx.to_scipy_sparse_array(graph), directed=False)
    assert ours.max() + 1 == count == nx.number_connected_components(graph)
    np.testing.assert_array_equal(ours[:, None] == ours, theirs[:, None] == theirs)


def test_scipy_matrix_comes_back_unchanged() -> None:
    matrix = csgraph.csgraph_from_dense(np.corrcoef(some_nodes(12).x.numpy()))
    matrix = (matrix + matrix.T) / 2
    assert abs(graph_to_scipy(graph_from_scipy(matrix)) - matrix).max() == 0


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_gaussian_neighbours_and_distances_are_those_of_scikit_learn(k: int, search: str) -> None:
    data = some_nodes()
    distance = kneighbors_graph(data.x.numpy(), k, mode="distance").toarray()
    width = distance.max(axis=1)
    distance = np.maximum(distance, distance.T)
    expected = np.where(distance > 0, np.exp(-(distance**2) / np.outer(width, width)), 0.0)
    found = graph_to_scipy(GaussianKNN(k=k, search=search)(data)).toarray()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)  # theirs expands the square


def test_shrunk_correlations_are_those_of_scikit_learn() -> None:
    data = some_nodes(30)
    covariance = LedoitWolf().fit(data.x.T.numpy()).covariance_
    expected = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.fill_diagonal(expected, 0.0)
    found = graph_to_scipy(Correlation(k=29, signed=True, estimator="ledoit_wolf")(data)).toarray()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)  # below this is no edge


def test_partial_correlations_are_those_of_scikit_learn() -> None:
    data = some_nodes(12)
    x = data.x.numpy()
    standard = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    precision = GraphicalLasso(alpha=0.2, tol=1e-9, enet_tol=1e-9, max_iter=1000).fit(standard.T).precision_
    expected = -precision / np.sqrt(np.outer(np.diag(precision), np.diag(precision)))
    np.fill_diagonal(expected, 0.0)
    builder = Correlation(threshold=0.0, signed=True, estimator="partial", alpha=0.2)
    # 1e-6: ours stops at relative residuals of 1e-7, scikit-learn's at a duality gap of 1e-9.
    np.testing.assert_allclose(graph_to_scipy(builder(data)).toarray(), expected, rtol=0, atol=1e-6)


def test_links_are_those_of_the_spanning_tree_of_networkx() -> None:
    data = Data(x=some_nodes(60, 3).x.abs())
    graph = CosineKNN(k=1, connect="mst")(data)
    labels = connected_components(CosineKNN(k=1)(data)).numpy()
    cosine = (data.x / data.x.norm(dim=1, keepdim=True)).numpy()
    cosine = cosine @ cosine.T
    between = nx.Graph()
    for i, j in zip(*np.nonzero(labels[:, None] < labels), strict=True):
        a, b = labels[i], labels[j]
        if not between.has_edge(a, b) or between[a][b]["weight"] < cosine[i, j]:
            between.add_edge(a, b, weight=cosine[i, j])
    expected = nx.maximum_spanning_tree(between).size(weight="weight")
    added = graph.connecting_edges.numpy()
    assert added.shape[1] == labels.max()
    np.testing.assert_allclose(cosine[tuple(added)].sum(), expected, rtol=1e-12)
    assert connected_components(graph).max() == 0


def test_rewired_graphs_share_edges_as_those_of_networkx_do() -> None:
    graph = CosineKNN(k=4)(some_nodes(100))
    old = graph_to_networkx(graph)

    def kept(new: nx.Graph) -> float:
        return len(nx.intersection(old, new).edges) / len(old.edges)

    ours = [kept(graph_to_networkx(RandomRewired(lambda data: graph, seed=s)(graph))) for s in range(10)]
    theirs = [kept(nx.double_edge_swap(old.copy(), nswap=2000, max_tries=200_000, seed=s)) for s in range(10)]
    # Three standard errors of the difference of the two means.
    spread = 3.0 * np.sqrt((np.var(ours) + np.var(theirs)) / 10)
    assert abs(np.mean(ours) - np.mean(theirs)) < spread


def diffused(data: Data) -> Data:
    """Run PyG's graph diffusion, which keeps weights in `edge_attr`."""
    data.edge_attr = data.edge_weight
    del data.edge_weight
    data = GDC(sparsification_kwargs={"method": "topk", "k": 5, "dim": 0}, exact=True)(data)
    data.edge_weight = data.edge_attr
    return data


@pytest.mark.parametrize(
    "transform",
    [
        ToUndirected(reduce="mean"),
        AddRandomWalkPE(walk_length=3),
        LargestConnectedComponents(),
        lambda data: diffused(data),
    ],
    ids=["ToUndirected", "AddRandomWalkPE", "LargestConnectedComponents", "GDC"],
)
def test_transforms_of_pyg_take_our_graphs_and_a_repair_makes_builders_of_them(transform: object) -> None:
    made = Compose([CosineKNN(k=3), transform, symmetrize])(Data(x=some_nodes(40).x.float()))
    assert check_graph(made).num_edges > 0
