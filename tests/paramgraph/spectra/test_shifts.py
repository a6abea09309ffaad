import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from torch_geometric.data import Data

from paramgraph import adjacency, laplacian
from paramgraph.spectra import full_adjacency, zero_operator

NORMALIZATIONS = [None, "sym", "rw"]


def random_weights(nodes: int, density: float = 0.2, seed: int = 0) -> np.ndarray:
    source = np.random.default_rng(seed)
    upper = np.triu(source.random((nodes, nodes)) * (source.random((nodes, nodes)) < density), 1)
    return upper + upper.T


SMALL = {
    "no nodes": np.zeros((0, 0)),
    "one node": np.zeros((1, 1)),
    "two nodes, no edge": np.zeros((2, 2)),
    "an edge and a loner": np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    "two components": np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3)),
    "random sparse": random_weights(40),
    "random dense": random_weights(12, 0.9),
}


@pytest.fixture(params=SMALL, ids=lambda name: name.replace(" ", "_"))
def weights(request: pytest.FixtureRequest) -> np.ndarray:
    return SMALL[request.param]


def written_out(weights: np.ndarray, normalization: str | None) -> np.ndarray:
    degrees = weights.sum(axis=1)
    inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    connected = np.diag((degrees > 0).astype(float))
    if normalization is None:
        return np.diag(degrees) - weights
    if normalization == "rw":
        return connected - inverse[:, None] * weights
    return connected - np.sqrt(inverse)[:, None] * weights * np.sqrt(inverse)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_laplacian_is_its_formula(weights, normalization):
    expected = written_out(weights, normalization)
    # Two ulp of entries below 2 d_max: the formula multiplies in another order.
    np.testing.assert_allclose(laplacian(weights, normalization).to_dense(), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("normalization", [None, "sym"])
def test_matrix_is_symmetric_to_the_last_bit(weights, normalization):
    matrix = laplacian(weights, normalization).to_dense()
    assert np.array_equal(matrix, matrix.T)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_interval_holds_all_eigenvalues(weights, normalization):
    operator = laplacian(weights, normalization)
    eigenvalues = np.linalg.eigvals(operator.to_dense()).real
    low, high = operator.interval
    slack = 1e-12 * (1 + high)  # rounding of the dense eigenvalues
    assert ((eigenvalues >= low - slack) & (eigenvalues <= high + slack)).all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_null_space_is_orthonormal_and_maps_to_zero(weights, normalization):
    operator = laplacian(weights, normalization)
    null = operator.null_space()
    np.testing.assert_allclose(null.T @ null, np.eye(operator.components), atol=1e-14)
    np.testing.assert_allclose(operator @ null, 0, atol=1e-13)  # a sum of 40 rounded terms


def test_null_vector_of_sym_is_the_root_of_the_degrees():
    path = laplacian(nx.path_graph(3), "sym").null_space()[:, 0]
    np.testing.assert_allclose(path, np.sqrt([1, 2, 1]) / 2, rtol=1e-15)


def test_isolated_node_has_zero_row_and_a_unit_null_vector():
    operator = laplacian(SMALL["an edge and a loner"])
    assert not operator.to_dense()[2].any()
    assert operator.components == 2
    assert operator.null_space()[2].tolist() == [0.0, 1.0]


def test_rw_is_similar_to_sym():
    operator = laplacian(SMALL["random sparse"], "rw")
    symmetric, scale = operator.symmetrized()
    similar = symmetric.to_dense() * scale[None, :] / scale[:, None]
    np.testing.assert_allclose(similar, operator.to_dense(), atol=1e-15)
    assert not operator.symmetric
    assert symmetric.symmetric


def test_symmetric_operator_is_its_own_symmetrization():
    operator = laplacian(nx.path_graph(3))
    assert operator.symmetrized()[0] is operator


def test_combinatorial_bound_is_reached_by_the_complete_bipartite_graph():
    # The largest eigenvalue of K_{a,b} is a + b, which is d_i + d_j on every edge.
    assert laplacian(nx.complete_bipartite_graph(3, 4), None).bound == 7.0


def test_data_scipy_array_tensor_and_networkx_give_the_same_operator():
    weights = SMALL["an edge and a loner"]
    data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.tensor([2.0, 2.0]), num_nodes=3)
    forms = [
        data,
        sp.csr_matrix(weights),
        sp.coo_array(weights),
        torch.tensor(weights),
        nx.from_numpy_array(weights),
    ]
    assert {laplacian(form).fingerprint() for form in forms} == {laplacian(weights).fingerprint()}


@pytest.mark.parametrize("layout", ["auto", "dense", "coo", "csr"])
@pytest.mark.parametrize("name", ["no nodes", "random sparse", "random dense"])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
def test_torch_copy_is_a_graph_again(layout, name):
    operator = adjacency(SMALL[name])
    again = adjacency(operator.to_torch(layout=layout))
    assert again.fingerprint() == operator.fingerprint()


def test_node_weight_is_the_diagonal_of_an_adjacency_and_ignored_by_a_laplacian():
    data = Data(
        edge_index=torch.tensor([[0, 1], [1, 0]]),
        edge_weight=torch.tensor([0.5, 0.5]),
        node_weight=torch.tensor([1.0, 3.0]),
        num_nodes=2,
    )
    assert adjacency(data).to_dense().tolist() == [[1.0, 0.5], [0.5, 3.0]]
    assert laplacian(data, None).to_dense().tolist() == [[0.5, -0.5], [-0.5, 0.5]]


def test_adjacency_takes_signed_weights_and_gershgorin_bounds_it():
    operator = adjacency(np.array([[1.0, -3.0], [-3.0, 2.0]]))
    assert operator.interval == (-2.0, 5.0)
    assert operator.bound == 5.0
    assert operator.degrees.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["random sparse", "random dense"])
@pytest.mark.parametrize("width", [None, 3])
def test_product_keeps_dtype_and_shape(dtype, name, width):
    operator = laplacian(SMALL[name])
    shape = (operator.nodes,) if width is None else (operator.nodes, width)
    X = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    product = operator @ X
    assert product.dtype == dtype
    expected = operator.to_dense() @ X.double().numpy()
    # One rounding of the result, and float32 sums of up to 40 terms.
    tolerance = 4 * max(torch.finfo(dtype).eps, torch.finfo(torch.float64).eps) * 4
    np.testing.assert_allclose(product.double().numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("name", ["random sparse", "random dense"])
def test_product_is_differentiable(name):
    operator = laplacian(SMALL[name])
    X = torch.randn(operator.nodes, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: operator @ x, X.requires_grad_())


@pytest.mark.parametrize("name", ["random sparse", "random dense"])
def test_callers_autocast_does_not_round_the_product(name):
    operator = laplacian(SMALL[name])
    X = torch.randn(operator.nodes, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = operator @ X
    assert torch.equal(product, operator @ X)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 0)])
def test_product_on_no_nodes_is_empty(shape):
    assert (laplacian(SMALL["no nodes"]) @ torch.zeros(shape)).shape == shape
    assert (laplacian(SMALL["no nodes"]) @ np.zeros(shape)).shape == shape


def test_product_with_arrays_keeps_their_dtype():
    operator = laplacian(nx.path_graph(3))
    assert (operator @ np.ones(3, dtype=np.float32)).dtype == np.float32
    assert (operator @ np.ones(3, dtype=np.int64)).dtype == np.float64
    assert (operator @ sp.csr_array(np.eye(3))).shape == (3, 3)


@pytest.mark.parametrize("layout", ["auto", "dense", "coo"])
@pytest.mark.parametrize("name", ["no nodes", "random sparse", "random dense"])
def test_torch_copy_holds_the_matrix(layout, name):
    operator = laplacian(SMALL[name])
    tensor = operator.to_torch(dtype=torch.float64, layout=layout)
    assert np.array_equal(tensor.to_dense().numpy(), operator.to_dense())


def test_copies_leave_the_operator_alone():
    operator = laplacian(SMALL["random dense"])
    before = operator.fingerprint()
    operator.to_dense()[:] = 7
    operator.to_scipy().data[:] = 7
    assert operator.fingerprint() == before


def test_argument_is_not_changed():
    matrix = sp.csr_matrix(([1.0, 1.0, 0.0], [1, 0, 1], [0, 2, 3]), shape=(2, 2))
    matrix = (matrix + matrix.T).tocsr()
    before = matrix.copy()
    laplacian(matrix), adjacency(matrix)
    assert (matrix != before).nnz == 0
    assert matrix.nnz == before.nnz


def test_fingerprint_tells_operators_apart():
    weights = SMALL["random sparse"]
    prints = {laplacian(weights, form).fingerprint() for form in NORMALIZATIONS}
    prints |= {adjacency(weights).fingerprint(), laplacian(2 * weights, None).fingerprint()}
    assert len(prints) == 5


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 12), scale=st.floats(1e-3, 1e3))
def test_normalised_laplacians_do_not_see_the_scale_of_the_weights(seed, nodes, scale):
    weights = random_weights(nodes, 0.4, seed)
    one, other = laplacian(weights), laplacian(scale * weights)
    np.testing.assert_allclose(one.to_dense(), other.to_dense(), atol=1e-14)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 12), normalization=st.sampled_from(NORMALIZATIONS))
def test_relabelling_the_nodes_relabels_the_operator(seed, nodes, normalization):
    weights = random_weights(nodes, 0.4, seed)
    order = np.random.default_rng(seed).permutation(nodes)
    relabelled = laplacian(weights[np.ix_(order, order)], normalization).to_dense()
    expected = laplacian(weights, normalization).to_dense()[np.ix_(order, order)]
    np.testing.assert_allclose(relabelled, expected, atol=1e-14)  # degrees are summed in another order


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 12), normalization=st.sampled_from([None, "sym"]))
def test_laplacians_are_positive_semidefinite(seed, nodes, normalization):
    matrix = laplacian(random_weights(nodes, 0.4, seed), normalization).to_dense()
    assert np.linalg.eigvalsh(matrix).min() > -1e-13  # rounding of eigenvalues up to 24


def test_zero_operator_is_no_graph():
    operator = zero_operator(4)
    assert operator.components == 4
    assert operator.interval == (0.0, 0.0)
    assert not (operator @ torch.ones(4, 2)).any()


def test_asymmetry_of_rounding_is_averaged_out():
    features = np.random.default_rng(0).standard_normal((20, 7)).astype(np.float32)
    gram = features @ features.T
    gram[0, 1] *= 1 + 1e-7
    matrix = adjacency(gram).to_dense()
    assert np.array_equal(matrix, matrix.T)


@pytest.mark.parametrize(
    ("graph", "error", "text"),
    [
        (np.array([[0.0, -1.0], [-1.0, 0.0]]), ValueError, "adjacency"),
        (np.array([[0.0, np.nan], [np.nan, 0.0]]), ValueError, "NaN or infinite"),
        (np.array([[0.0, np.inf], [np.inf, 0.0]]), ValueError, "NaN or infinite"),
        (np.array([[0.0, 1.0], [0.0, 0.0]]), ValueError, "not symmetric"),
        (np.ones((2, 3)), ValueError, "square"),
        (np.array([[0, 1j], [1j, 0]]), TypeError, "real"),
        (nx.DiGraph([(0, 1)]), ValueError, "directed"),
        ("ring", TypeError, "networkx"),
    ],
)
def test_bad_graph_raises_and_says_what_to_do(graph, error, text):
    with pytest.raises(error, match=text):
        laplacian(graph)


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_normalization_raises():
    with pytest.raises(ValueError, match="'sym', 'rw'"):
        laplacian(np.zeros((2, 2)), "symmetric")


def test_signal_with_wrong_rows_or_integers_raises():
    operator = laplacian(nx.path_graph(3))
    with pytest.raises(ValueError, match="3 nodes"):
        operator @ torch.ones(4, 2)
    with pytest.raises(TypeError, match="floating"):
        operator @ torch.ones(3, dtype=torch.int64)


@pytest.mark.parametrize("X", [[1.0, 2.0, 3.0], 3.0, None])
def test_signal_that_is_no_array_raises(X):
    with pytest.raises(TypeError, match=type(X).__name__):
        laplacian(nx.path_graph(3)) @ X


@pytest.mark.parametrize("name", ["random sparse", "random dense"])
def test_copy_and_product_are_on_the_cpu_whatever_the_default_device(name):
    X = torch.eye(SMALL[name].shape[0], dtype=torch.float64)
    with torch.device("meta"):
        assert laplacian(SMALL[name]).to_torch().device.type == "cpu"
        product = laplacian(SMALL[name]) @ X
    assert np.array_equal(product.numpy(), laplacian(SMALL[name]).to_dense())


def test_adjacency_has_no_known_null_space():
    with pytest.raises(ValueError, match="laplacian"):
        adjacency(nx.path_graph(3)).null_space()


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_layout_raises():
    with pytest.raises(ValueError, match="coo"):
        laplacian(nx.path_graph(3)).to_torch(layout="bsr")


def test_repr_names_the_operator():
    path = nx.path_graph(3)
    assert repr(laplacian(path)) == "ShiftOperator(laplacian, normalization='sym', nodes=3)"
    assert repr(adjacency(path)) == "ShiftOperator(adjacency, nodes=3)"


@pytest.mark.parametrize("shift", [adjacency, laplacian, lambda graph: laplacian(graph, None)])
def test_weights_whose_sums_leave_float64_are_refused(shift):
    with pytest.raises(ValueError, match=r"weights of up to 1e.308 add up to more than 1.1e.307 at a node"):
        shift(1e308 * nx.to_numpy_array(nx.cycle_graph(5)))


def test_a_diagonal_that_leaves_float64_is_refused():
    with pytest.raises(ValueError, match="divide all weights by the largest"):
        adjacency(np.diag([1.0, 1e308]))


@pytest.mark.parametrize("zero", [False, True], ids=["full", "two components"])
def test_a_full_matrix_is_the_same_operator_without_a_copy(zero):
    signs = np.random.default_rng(0).standard_normal((6, 9))
    matrix = signs @ signs.T
    matrix = np.tril(matrix) + np.tril(matrix, -1).T
    if zero:
        matrix[:2, 2:] = matrix[2:, :2] = 0.0
    plain, full = adjacency(matrix), full_adjacency(matrix)
    np.testing.assert_array_equal(full.to_dense(), plain.to_dense())
    np.testing.assert_array_equal(full.component_labels, plain.component_labels)
    np.testing.assert_allclose(full.degrees, plain.degrees, rtol=1e-14)  # the diagonal is taken off again
    assert (full.matrix is matrix) is not zero
    assert full.components == 1 + zero


def test_a_full_matrix_is_checked_as_any_other():
    matrix = np.ones((3, 3))
    with pytest.raises(ValueError, match="add up to more than"):
        full_adjacency(matrix * 1e308)
    with pytest.raises(ValueError, match="2 rows of the matrix have entries that are not finite"):
        full_adjacency(np.array([[1.0, np.nan, 1.0], [np.nan, 1.0, 1.0], [1.0, 1.0, 1.0]]))
    assert full_adjacency(np.zeros((0, 0))).nodes == 0
