import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from paramgraph.graphs import compact, edge_part, weight_matrix

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
