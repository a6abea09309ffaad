"""The ways to SciPy and networkx and back, and the weight matrix of whatever is a graph."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from torch_geometric.data import Data
from torch_geometric.utils import from_networkx

from paramgraph import graph_from_networkx, graph_from_scipy, graph_to_networkx, graph_to_scipy
from paramgraph.graphs import compact, edge_part, weight_matrix

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


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_networkx_graph_is_refused() -> None:
    with pytest.raises(TypeError, match=r"networkx\.Graph, got int"):
        graph_from_networkx(3)


def test_node_weight_survives_networkx() -> None:
    graph = graph_from_scipy(np.array([[3.0, 1.0], [1.0, 0.0]]))
    assert graph_from_networkx(graph_to_networkx(graph)).node_weight.tolist() == [3.0, 0.0]


def test_missing_weights_count_one_on_the_way_out() -> None:
    bare = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
    assert graph_to_scipy(bare).toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert "edge_weight" not in bare


def test_edges_are_read_in_any_order(graphs: dict[str, Data]) -> None:
    graph = graphs["weighted_random"]
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(0))
    mixed = Data(edge_index=graph.edge_index[:, order], edge_weight=graph.edge_weight[order], num_nodes=20)
    before = mixed.edge_index.clone()
    np.testing.assert_array_equal(graph_to_scipy(mixed).toarray(), graph_to_scipy(graph).toarray())
    assert torch.equal(mixed.edge_index, before)


def test_ring_as_pyg_reads_it_from_networkx_is_a_graph() -> None:
    ring = nx.cycle_graph(5)  # of the last node, PyG stores the edge to the fourth before that to the first
    np.testing.assert_array_equal(graph_to_scipy(from_networkx(ring)).toarray(), nx.to_numpy_array(ring))


def test_edge_that_is_stored_twice_is_refused() -> None:
    twice = Data(
        edge_index=torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]]), edge_weight=torch.ones(4), num_nodes=2
    )
    with pytest.raises(ValueError, match="duplicates"):
        graph_to_scipy(twice)


EDGE = np.array([[0.0, 2.0], [2.0, 0.0]])


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, np.float16, np.float32, np.longdouble])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.csc_array, sp.coo_array, sp.csr_matrix])
def test_real_numbers_of_any_type_become_float64(dtype, kind):
    if kind is not np.asarray and dtype == np.float16:
        kind = np.asarray  # SciPy has no sparse arrays of float16
    weights = weight_matrix(kind(EDGE.astype(dtype)))
    assert weights.dtype == np.float64
    assert np.array_equal(weights.toarray(), EDGE)


def test_truth_values_are_weights_of_one():
    assert np.array_equal(weight_matrix(EDGE > 0).toarray(), EDGE / 2)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int32, torch.int64, torch.bool]
)
@pytest.mark.parametrize("layout", ["dense", "coo"])
def test_tensors_of_any_type_become_float64(dtype, layout):
    tensor = torch.tensor(EDGE).to(dtype)
    weights = weight_matrix(tensor.to_sparse() if layout == "coo" else tensor)
    assert weights.dtype == np.float64
    assert np.array_equal(weights.toarray(), tensor.double().numpy())


def test_half_precision_weights_of_a_graph_are_read_exactly():
    weight = torch.full((2,), 0.1, dtype=torch.float16)
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=weight, num_nodes=2)
    assert weight_matrix(graph)[0, 1] == float(np.float16(0.1))


def test_integer_weights_of_a_graph_raise():
    weight = torch.ones(2, dtype=torch.int64)
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=weight, num_nodes=2)
    with pytest.raises(ValueError, match="edge_weight must be float"):
        weight_matrix(graph)


def test_duplicate_entries_of_a_sparse_matrix_are_summed():
    entries = sp.coo_array(([1.0, 1.0, 2.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    assert np.array_equal(weight_matrix(entries).toarray(), EDGE)
    index, values = torch.tensor([[0, 0, 1], [1, 1, 0]]), torch.tensor([1.0, 1.0, 2.0])
    tensor = torch.sparse_coo_tensor(index, values, (2, 2), check_invariants=False)
    assert np.array_equal(weight_matrix(tensor).toarray(), EDGE)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float16, torch.bool])
def test_duplicate_entries_are_summed_in_float64_whatever_they_are(dtype):
    index, values = torch.tensor([[0] * 300 + [1] * 300, [1] * 300 + [0] * 300]), torch.ones(600)
    tensor = torch.sparse_coo_tensor(index, values.to(dtype), (2, 2), check_invariants=False)
    assert np.array_equal(weight_matrix(tensor).toarray(), 150 * EDGE)
    if dtype != torch.float16:  # SciPy has no sparse arrays of it
        entries = sp.coo_array((values.to(dtype).numpy(), index.numpy()), shape=(2, 2))
        assert np.array_equal(weight_matrix(entries).toarray(), 150 * EDGE)
        assert graph_from_scipy(entries).edge_weight.tolist() == [300.0, 300.0]


def test_an_edge_of_one_direction_is_told_beside_a_far_larger_weight():
    graph = nx.DiGraph([(0, 1, {"weight": 1e9}), (1, 0, {"weight": 1e9}), (1, 2, {"weight": 1.0})])
    with pytest.raises(ValueError, match="the graph is directed, and not symmetric"):
        graph_from_networkx(graph)
    graph.add_edge(2, 1, weight=1.0 + 1e-9)
    assert graph_from_networkx(graph).edge_weight.tolist() == pytest.approx([1e9, 1e9, 1.0, 1.0])


def test_two_directions_that_differ_by_rounding_are_one_edge():
    # What float32 leaves of a cosine that is zero, the other way round.
    graph = nx.DiGraph()
    graph.add_weighted_edges_from([(0, 1, 1.0), (1, 0, 1.0), (1, 2, 1e-8), (2, 1, 3e-8)])
    assert graph_from_networkx(graph).edge_weight.tolist() == pytest.approx([1.0, 1.0, 2e-8, 2e-8])


def test_duplicate_edges_of_a_graph_raise():
    index = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0]])
    with pytest.raises(ValueError, match="not coalesced"):
        weight_matrix(Data(edge_index=index, edge_weight=torch.ones(4), num_nodes=2))


def test_parallel_edges_of_a_multigraph_are_summed():
    assert np.array_equal(weight_matrix(nx.MultiGraph([(0, 1), (0, 1)])).toarray(), EDGE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, torch.tensor])
def test_weights_that_are_not_finite_raise(value, kind):
    weights = EDGE.copy()
    weights[0, 1] = weights[1, 0] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        weight_matrix(kind(weights))


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, torch.tensor])
def test_asymmetric_weights_raise_with_the_way_out(kind):
    with pytest.raises(ValueError, match=r"\(W \+ W.T\) / 2"):
        weight_matrix(kind(np.triu(EDGE)))


def test_stored_zeros_are_no_edges():
    assert weight_matrix(sp.csr_array(([0.0, 0.0], ([0, 1], [1, 0])), shape=(2, 2))).nnz == 0


def test_argument_is_not_changed():
    entries = sp.coo_array(([1.0, 1.0, 2.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    weight_matrix(entries)
    assert entries.nnz == 3


def test_diagonal_is_taken_out():
    assert np.array_equal(edge_part(weight_matrix(EDGE + np.eye(2))).toarray(), EDGE)


def test_full_matrices_are_kept_dense_and_others_sparse():
    assert isinstance(compact(sp.csr_array(np.ones((4, 4)))), np.ndarray)
    assert sp.issparse(compact(sp.csr_array(np.eye(8))))
    assert sp.issparse(compact(sp.csr_array((0, 0))))


def test_a_loop_or_else_the_attribute_is_the_weight_of_a_node():
    graph = nx.path_graph(3)
    graph.add_edge(0, 0, weight=5.0)
    nx.set_node_attributes(graph, {1: 2.0, 2: np.float32(1.0)}, "node_weight")
    assert graph_from_networkx(graph).node_weight.tolist() == [5.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: 1.0, 1: 1.0, 2: 1.0}, "the node 0 has the node_weight 1.0 and a loop of weight 5.0"),
        ({1: 2.0}, "the node 2 has the node_weight None, which is no number"),
        ({1: "a", 2: 1.0}, "the node 1 has the node_weight 'a', which is no number"),
    ],
)
def test_node_weights_that_are_not_meant_for_all_nodes_are_refused(weights, message):
    graph = nx.path_graph(3)
    graph.add_edge(0, 0, weight=5.0)
    nx.set_node_attributes(graph, weights, "node_weight")
    with pytest.raises(ValueError, match=message):
        graph_from_networkx(graph)


def test_layers_may_be_numbers_of_numpy():
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {node: np.int64(node) for node in range(3)}, "layer")
    assert graph_from_networkx(graph).layer.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.bool_, np.longdouble])
def test_matrices_of_any_real_type_are_read(dtype):
    graph = graph_from_scipy(np.array([[0, 1], [1, 0]], dtype=dtype))
    assert graph.edge_weight.tolist() == [1.0, 1.0]
    assert graph.edge_weight.dtype == torch.float64
