import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import adjacency, laplacian
from paramgraph.spectra import KroneckerProduct, KroneckerSum, product_eigenpairs, product_modes

SOURCE = np.random.default_rng(0)


def gram(nodes: int, rank: int) -> np.ndarray:
    features = SOURCE.standard_normal((nodes, rank))
    return features @ features.T / rank


ROWS, COLUMNS = gram(7, 9), gram(5, 2)
PRODUCT = KroneckerProduct(adjacency(ROWS), adjacency(COLUMNS))
SIGNED = KroneckerProduct(adjacency(nx.path_graph(4)), adjacency(nx.star_graph(4)))
X = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_matrix_is_the_explicit_kronecker_product():
    np.testing.assert_allclose(PRODUCT.to_scipy().toarray(), np.kron(ROWS, COLUMNS), rtol=1e-15)


def test_products_are_those_of_the_explicit_matrix_on_entries_row_by_row():
    expected = np.kron(ROWS, COLUMNS) @ X.flatten().numpy()
    # Sums of 35 terms of float64 in another order.
    np.testing.assert_allclose((PRODUCT @ X).flatten().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose((PRODUCT @ X.flatten()).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(PRODUCT.to_linear_operator() @ X.flatten().numpy(), expected, atol=1e-12)
    stack = torch.stack([X, 2 * X], dim=-1)
    torch.testing.assert_close(PRODUCT.times(stack)[..., 1], 2 * (PRODUCT @ X), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("product", [PRODUCT, SIGNED], ids=["gram", "signed"])
@pytest.mark.parametrize("k", [1, 3, 11, 20])
def test_strongest_modes_come_first_two_negative_factors_among_them(product, k):
    every = np.linalg.eigvalsh(product.to_scipy().toarray())[::-1]
    modes = product_modes(product, k)
    np.testing.assert_allclose(modes.eigenvalues, every[:k], atol=1e-12)
    np.testing.assert_allclose(
        modes.row_spectrum.eigenvalues[modes.row] * modes.column_spectrum.eigenvalues[modes.column],
        modes.eigenvalues,
        atol=1e-15,
    )
    spectrum = product_eigenpairs(product, k)
    assert spectrum.residuals.max() < 1e-12
    assert spectrum.reason.startswith("products of")


@pytest.mark.parametrize("k", [1, 8, 13, 30])
def test_smallest_products_of_laplacians_come_first_and_zeros_are_counted(k):
    rows, columns = nx.Graph([(0, 1), (2, 3), (3, 4)]), nx.path_graph(6)
    product = KroneckerProduct(laplacian(rows, None), laplacian(columns, None))
    every = np.linalg.eigvalsh(product.to_scipy().toarray())
    np.testing.assert_allclose(product_modes(product, k).eigenvalues, every[:k], atol=1e-12)
    # Two zeros of rows with 6 columns, one of columns with 5 rows, both twice.
    assert product.nullity == 15 == (every < 1e-12).sum()


@pytest.mark.parametrize(
    "graphs",
    [
        (nx.path_graph(3), nx.path_graph(4)),  # both have two sides: two parts
        (nx.cycle_graph(3), nx.path_graph(4)),
        (nx.cycle_graph(4), nx.disjoint_union(nx.cycle_graph(5), nx.path_graph(2))),
        (nx.empty_graph(2), nx.cycle_graph(3)),  # no edges at all
        (nx.disjoint_union(nx.empty_graph(2), nx.path_graph(2)), nx.star_graph(3)),
    ],
    ids=lambda graphs: str([len(graph) for graph in graphs]),
)
def test_components_are_those_of_the_tensor_product_of_networkx(graphs):
    product = KroneckerProduct(*map(adjacency, graphs))
    assert product.components == nx.number_connected_components(nx.tensor_product(*graphs))


def test_components_of_gram_graphs_have_loops_and_so_one_part():
    assert PRODUCT.components == 1
    loops = KroneckerProduct(adjacency(np.diag([1.0, 2.0, 0.0])), adjacency(nx.path_graph(2)))
    assert loops.components == 1 + 1 + 2


@pytest.mark.parametrize("product", [PRODUCT, SIGNED], ids=["gram", "signed"])
def test_interval_holds_the_whole_spectrum(product):
    values = np.linalg.eigvalsh(product.to_scipy().toarray())
    low, high = product.interval
    assert low - 1e-12 <= values[0]
    assert values[-1] <= high + 1e-12


def test_identity_on_one_side_is_the_sum_with_nothing_on_it():
    alone = KroneckerProduct(adjacency(ROWS), adjacency(np.eye(5)))
    with_nothing = KroneckerSum(adjacency(ROWS), adjacency(np.zeros((5, 5))))
    torch.testing.assert_close(alone @ X, with_nothing @ X, rtol=1e-14, atol=1e-14)


def test_diagonal_factors_multiply_and_add_their_entries():
    b, a = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 4.0])
    factors = [adjacency(torch.diag(part)) for part in (b, a)]
    ones = torch.ones(3, 2)
    torch.testing.assert_close(KroneckerProduct(*factors) @ ones, torch.outer(b, a), rtol=0, atol=0)
    torch.testing.assert_close(KroneckerSum(*factors) @ ones, b[:, None] + a, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 4), (4, 1)])
def test_small_and_empty_matrices_have_products(shape):
    product = KroneckerProduct(*(adjacency(np.eye(n)) for n in shape))
    assert torch.equal(product @ torch.ones(shape), torch.ones(shape))
    assert product.components == product.nodes == shape[0] * shape[1]
    assert product_modes(product, product.nodes).eigenvalues.tolist() == [1.0] * product.nodes


def test_products_beyond_float64_are_refused():
    with pytest.raises(ValueError, match="divide the weights"):
        KroneckerProduct(*(adjacency(np.full((2, 2), 1e200)) for _ in range(2)))


def test_two_kinds_are_refused():
    with pytest.raises(ValueError, match="their product has no order"):
        KroneckerProduct(adjacency(ROWS), laplacian(nx.path_graph(5)))
    with pytest.raises(ValueError, match="not symmetric"):
        KroneckerProduct(laplacian(nx.path_graph(4), "rw"), laplacian(nx.path_graph(5)))
