"""Copies as tensors, and products with signals that are not finite; the rest stands in test_shifts."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from paramgraph import adjacency, laplacian
from paramgraph.spectra import sparse_tensor

LAYOUTS = {"dense": torch.strided, "coo": torch.sparse_coo, "csr": torch.sparse_csr}
GRAPHS = {
    "no nodes": nx.empty_graph(0),
    "no edges": nx.empty_graph(3),
    "sparse": nx.path_graph(20),
    "dense": nx.complete_graph(4),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_layout_and_floating_type_holds_the_matrix(name, layout, dtype):
    operator = laplacian(GRAPHS[name], None)
    tensor = operator.to_torch(dtype=dtype, layout=layout)  # torch's warnings would be errors here
    assert (tensor.layout, tensor.dtype) == (LAYOUTS[layout], dtype)
    # Degrees are small integers: exact in every floating type.
    assert np.array_equal(tensor.to_dense().double().numpy(), operator.to_dense())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_multiplies(layout):
    operator = laplacian(nx.path_graph(20))
    X = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # Three terms in another order.
    torch.testing.assert_close(operator.to_torch(layout=layout) @ X, operator @ X, atol=1e-14, rtol=0)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, "float32"])
def test_types_that_would_cut_entries_off_raise(dtype):
    with pytest.raises(TypeError, match="floating torch dtype"):
        laplacian(nx.path_graph(3)).to_torch(dtype=dtype)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_spread_to_the_neighbours_only(value):
    X = torch.ones(20)
    X[0] = value
    product = laplacian(GRAPHS["sparse"], None) @ X
    assert (~product.isfinite()).tolist() == [True, True] + [False] * 18


def test_signal_that_is_not_finite_spreads_everywhere_in_a_dense_product():
    X = torch.tensor([float("nan"), 1.0, 1.0, 1.0])
    assert (adjacency(GRAPHS["dense"]) @ X).isnan().all()


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
def test_null_entries_are_the_null_space_in_one_array(normalization):
    operator = laplacian(nx.disjoint_union(nx.path_graph(4), nx.empty_graph(2)), normalization)
    assert np.array_equal(operator.null_space().sum(axis=1), operator.null_entries())
    assert operator.nullity == operator.components == 3


def test_product_in_inference_mode_first_is_differentiable_later():
    operator = laplacian(nx.path_graph(5))
    X = torch.ones(5, 2, requires_grad=True)
    with torch.inference_mode():
        operator @ X
    (operator @ X).square().sum().backward()
    assert X.grad.shape == X.shape


MATRIX = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, -1.0]])


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_entries_are_those_of_the_matrix_and_zeros_are_not_stored(kind, layout):
    tensor = sparse_tensor(kind(MATRIX), "cpu", torch.float64, layout)
    assert np.array_equal(tensor.to_dense().numpy(), MATRIX)
    assert tensor._nnz() == 2


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_entries_out_of_order_are_put_in_order(layout):
    unsorted = sp.csr_array(
        (np.array([1.0, 2.0, 3.0]), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(2, 3)
    )
    tensor = sparse_tensor(unsorted, "cpu", torch.float64, layout)
    columns = tensor.indices()[1] if layout == "coo" else tensor.col_indices()
    assert columns.tolist() == [0, 2, 1]
    assert tensor.values().tolist() == [2.0, 1.0, 3.0]
    assert unsorted.indices.tolist() == [2, 0, 1]


def test_other_device_than_the_default_one():
    with torch.device("meta"):
        assert sparse_tensor(sp.csr_array(MATRIX), "cpu", torch.float32, "coo").device.type == "cpu"


def test_compressed_rows_have_the_narrow_indices_that_scipy_has():
    tensor = sparse_tensor(sp.csr_array(MATRIX), "cpu", torch.float32, "csr")
    assert tensor.crow_indices().dtype == tensor.col_indices().dtype == torch.int32
    X = torch.tensor([[1.0], [2.0], [3.0]])
    assert (tensor @ X).tolist() == [[4.0], [-3.0]]
    nothing = sparse_tensor(sp.csr_array((0, 0)), "cpu", torch.float32, "csr")
    assert (nothing @ X[:0]).shape == (0, 1)
