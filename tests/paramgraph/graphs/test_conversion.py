"""The ways to SciPy and networkx and back."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from torch_geometric.data import Data

from paramgraph import graph_from_networkx, graph_from_scipy, graph_to_networkx, graph_to_scipy

ZOO = [
    *("path", "ring", "complete", "star", "two_components", "isolated_node"),
    *("no_edges", "one_node", "no_nodes", "weighted_random", "grid"),
]


def same_graph(left: Data, right: Data) -> bool:
    return (
        left.num_nodes == right.num_nodes
        and torch.equal(left.edge_index, right.edge_index)
        and torch.equal(left.edge_weight.double(), right.edge_weight.double())
    )


@pytest.mark.parametrize("name", ZOO)
def test_graph_survives_the_way_to_scipy_and_back(graphs: dict[str, Data], name: str) -> None:
    assert same_graph(graph_from_scipy(graph_to_scipy(graphs[name])), graphs[name])


@pytest.mark.parametrize("name", ZOO)
def test_graph_survives_the_way_to_networkx_and_back(graphs: dict[str, Data], name: str) -> None:
    assert same_graph(graph_from_networkx(graph_to_networkx(graphs[name])), graphs[name])


@given(st.integers(0, 8), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_any_symmetric_matrix_comes_back_entry_by_entry(nodes: int, random: object) -> None:
    numbers = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    matrix = numbers.normal(size=(nodes, nodes)) * (numbers.random((nodes, nodes)) < 0.5)
    matrix = matrix + matrix.T
    np.testing.assert_array_equal(graph_to_scipy(graph_from_scipy(matrix)).toarray(), matrix)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.coo_matrix, sp.lil_array])
def test_every_form_of_matrix_gives_the_same_graph(form: type) -> None:
    graph = graph_from_scipy(form(np.array([[0.0, 2.0, 0.0], [2.0, 5.0, 0.0], [0.0, 0.0, 0.0]])))
    assert graph.edge_index.tolist() == [[0, 1], [1, 0]]
    assert graph.node_weight.tolist() == [0.0, 5.0, 0.0]
    assert graph.num_nodes == 3


@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [
        (np.float32, torch.float32),
        (np.float64, torch.float64),
        (np.int64, torch.float64),
        (bool, torch.float64),
    ],
)
def test_float32_stays_and_the_rest_becomes_float64(given_dtype: type, dtype: torch.dtype) -> None:
    assert graph_from_scipy(np.array([[0, 1], [1, 0]], dtype=given_dtype)).edge_weight.dtype == dtype


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (np.zeros((2, 3)), "square"),
        (np.array([[0.0, 1.0], [0.0, 0.0]]), "not symmetric"),
        (np.array([[0.0, np.nan], [np.nan, 0.0]]), "2 entries that are not finite"),
        (np.array([[0.0, 1j], [1j, 0.0]]), "real"),
    ],
)
def test_matrix_of_no_graph_is_refused(matrix: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        graph_from_scipy(matrix)


def test_rounding_of_a_product_is_no_asymmetry() -> None:
    matrix = np.array([[0.0, 1.0], [1.0 + 1e-9, 0.0]])
    graph = graph_from_scipy(matrix)
    assert graph.edge_weight[0] == graph.edge_weight[1]


def test_other_fields_of_like_travel_along() -> None:
    like = Data(x=torch.ones(2, 3), role=["query", "key"])
    graph = graph_from_scipy(np.array([[0.0, 1.0], [1.0, 0.0]]), like=like)
    assert graph.x is like.x
    assert graph.role == ["query", "key"]
    assert like.edge_index is None
    with pytest.raises(ValueError, match="3 nodes but `like` has 2"):
        graph_from_scipy(np.zeros((3, 3)), like=like)


def test_matrix_does_not_share_memory_with_the_graph(graphs: dict[str, Data]) -> None:
    graph_to_scipy(graphs["path"]).data[:] = 7.0
    assert graphs["path"].edge_weight.tolist() == [1.0] * 8


def test_networkx_loops_parallel_edges_and_names_are_read() -> None:
    graph = nx.MultiGraph()
    graph.add_nodes_from(["a", "b", "c"])
    graph.add_edge("b", "a", weight=1.5)
    graph.add_edge("a", "b", weight=0.5)
    graph.add_edge("a", "a", weight=4.0)
    found = graph_from_networkx(graph)
    assert found.edge_index.tolist() == [[0, 1], [1, 0]]
    assert found.edge_weight.tolist() == [2.0, 2.0]
    assert found.node_weight.tolist() == [4.0, 0.0, 0.0]


def test_one_way_networkx_graph_is_refused() -> None:
    with pytest.raises(ValueError, match="not symmetric"):
        graph_from_networkx(nx.DiGraph([(0, 1)]))


def test_what_is_no_networkx_graph_is_refused() -> None:
    with pytest.raises(TypeError, match=r"networkx\.Graph, got int"):
        graph_from_networkx(3)


def test_node_weight_survives_networkx() -> None:
    graph = graph_from_scipy(np.array([[3.0, 1.0], [1.0, 0.0]]))
    assert graph_from_networkx(graph_to_networkx(graph)).node_weight.tolist() == [3.0, 0.0]
