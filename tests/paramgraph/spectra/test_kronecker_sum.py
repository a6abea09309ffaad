import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from paramgraph import adjacency, laplacian
from paramgraph.spectra import KroneckerSum, zero_operator

ROWS = laplacian(nx.random_geometric_graph(7, 0.6, seed=1), None)
COLUMNS = laplacian(nx.path_graph(4), None)
PRODUCT = KroneckerSum(ROWS, COLUMNS)
X = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def explicit(rows, columns):
    L_r, L_c = rows.to_dense(), columns.to_dense()
    return np.kron(L_r, np.eye(len(L_c))) + np.kron(np.eye(len(L_r)), L_c)


def test_sparse_matrix_is_the_explicit_kronecker_sum():
    np.testing.assert_array_equal(PRODUCT.to_scipy().toarray(), explicit(ROWS, COLUMNS))


def test_products_are_those_of_the_explicit_matrix_on_entries_row_by_row():
    expected = explicit(ROWS, COLUMNS) @ X.flatten().numpy()
    # A few sums of float64 in another order.
    np.testing.assert_allclose((PRODUCT @ X).flatten().numpy(), expected, atol=1e-13)
    np.testing.assert_allclose((PRODUCT @ X.flatten()).numpy(), expected, atol=1e-13)
    np.testing.assert_allclose(PRODUCT.to_linear_operator() @ X.flatten().numpy(), expected, atol=1e-13)


def test_linear_operator_is_symmetric_and_takes_many_vectors():
    dense = PRODUCT.to_linear_operator() @ np.eye(28)
    np.testing.assert_allclose(dense, explicit(ROWS, COLUMNS), atol=1e-14)
    np.testing.assert_allclose(PRODUCT.to_linear_operator().T @ np.eye(28), dense.T, atol=1e-14)


def test_null_space_holds_the_outer_products_and_is_orthonormal():
    rows = laplacian(nx.Graph([(0, 1), (2, 3)]), "sym")
    product = KroneckerSum(rows, laplacian(nx.empty_graph(3)))
    basis = product.null_basis().toarray()
    assert basis.shape == (12, 6) == (product.nodes, product.components)
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-15)
    np.testing.assert_allclose(product.to_scipy() @ basis, 0, atol=1e-15)


@pytest.mark.parametrize("make", [lambda g: laplacian(g, None), laplacian, adjacency])
def test_interval_holds_the_whole_spectrum(make):
    product = KroneckerSum(make(nx.star_graph(4)), make(nx.cycle_graph(5)))
    values = np.linalg.eigvalsh(product.to_scipy().toarray())
    low, high = product.interval
    assert low - 1e-12 <= values[0]
    assert values[-1] <= high + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_comes_back_as_it_came_and_is_summed_in_float32(dtype):
    rows = laplacian(nx.complete_graph(300), None)
    low = torch.full((300, 2), 0.7).to(dtype)
    low[0] = 0.0
    found = KroneckerSum(rows, zero_operator(2)) @ low
    assert found.dtype == dtype
    expected = rows @ low.double()
    # 209 less 209, each of 300 terms in float32: 209 x 300 x 6e-8 at worst.
    torch.testing.assert_close(found, expected.to(dtype), rtol=torch.finfo(dtype).eps, atol=4e-3)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1), (1, 4), (4, 1)])
def test_small_and_empty_matrices_have_products(shape):
    product = KroneckerSum(*(laplacian(nx.path_graph(n), None) for n in shape))
    signal = torch.ones(shape)
    assert torch.equal(product @ signal, torch.zeros(shape))
    assert product.to_scipy().shape == (product.nodes, product.nodes)


def test_random_walk_operator_is_refused():
    with pytest.raises(ValueError, match="not symmetric"):
        KroneckerSum(ROWS, laplacian(nx.path_graph(4), "rw"))


def test_operators_of_two_kinds_are_refused():
    with pytest.raises(ValueError, match="one kind"):
        KroneckerSum(ROWS, adjacency(nx.path_graph(4)))


@pytest.mark.parametrize("wrong", [X.T, X[0], X[None], torch.ones(29, dtype=torch.float64)])
def test_other_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\(7, 4\)"):
        _ = PRODUCT @ wrong


@pytest.mark.usefixtures("unchecked_types")
def test_no_tensor_is_a_type_error():
    with pytest.raises(TypeError, match="ndarray"):
        _ = PRODUCT @ X.numpy()


def test_sparse_matrix_has_no_more_entries_than_edges_ask_for():
    big = KroneckerSum(laplacian(nx.cycle_graph(100), None), laplacian(nx.cycle_graph(50), None))
    assert sp.issparse(big.to_scipy())
    assert big.to_scipy().nnz == 5 * 5000
