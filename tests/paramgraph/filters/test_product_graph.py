import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import ProductGraph, adjacency, heat, laplacian, tikhonov
from paramgraph.spectra import zero_operator


def weighted(graph: nx.Graph, seed: int) -> nx.Graph:
    source = np.random.default_rng(seed)
    for _, _, edge in graph.edges(data=True):
        edge["weight"] = source.uniform(0.2, 2.0)
    return graph


ROWS = weighted(nx.random_geometric_graph(7, 0.6, seed=1), 1)
COLUMNS = weighted(nx.path_graph(5), 2)
L_R, L_C = (laplacian(graph, None).to_dense() for graph in (ROWS, COLUMNS))
EXPLICIT = np.kron(L_R, np.eye(5)) + np.kron(np.eye(7), L_C)
X = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def product() -> ProductGraph:
    return ProductGraph(ROWS, COLUMNS)


def test_combinatorial_laplacian_is_the_default_and_its_penalty_sums_over_edges(product):
    expected = sum(d["weight"] * (X[i] - X[j]).square().sum() for i, j, d in ROWS.edges(data=True))
    expected = expected + sum(
        d["weight"] * (X[:, i] - X[:, j]).square().sum() for i, j, d in COLUMNS.edges(data=True)
    )
    assert product.penalty(X).item() == pytest.approx(expected.item(), rel=1e-12)


def test_penalty_is_the_quadratic_form_of_the_explicit_matrix(product):
    x = X.flatten().numpy()
    assert product.penalty(X).item() == pytest.approx(x @ EXPLICIT @ x, rel=1e-12)


def test_penalty_is_the_energy_of_modes_weighted_by_their_eigenvalues(product):
    spectrum = product.eigenpairs()
    energy = (spectrum.eigenvectors.T @ X.flatten()).square()
    assert (spectrum.eigenvalues * energy).sum().item() == pytest.approx(product.penalty(X).item(), rel=1e-10)


def test_gradient_is_that_of_autograd(product):
    signal = X.clone().requires_grad_()
    product.penalty(signal).backward()
    torch.testing.assert_close(product.penalty_gradient(X), signal.grad, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(product.penalty, X.clone().requires_grad_())


def test_constant_matrix_costs_nothing(product):
    assert product.penalty(torch.ones(7, 5)).item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("k", [1, 2, 9, 35, None])
def test_eigenvalues_are_those_of_the_explicit_matrix(product, k):
    expected = np.linalg.eigvalsh(EXPLICIT)[:k]
    found = product.eigenvalues(k)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_eigenvalues_of_a_grid_are_its_closed_form_with_multiplicity():
    n = 12
    path = 2 - 2 * np.cos(np.pi * np.arange(n) / n)
    found = ProductGraph(nx.path_graph(n), nx.path_graph(n)).eigenvalues(40)
    np.testing.assert_allclose(found.numpy(), np.sort(np.add.outer(path, path), axis=None)[:40], atol=1e-12)


def test_hypercube_has_binomial_multiplicities():
    cube = nx.hypercube_graph(3)
    found = ProductGraph(cube, cube).eigenvalues()
    # Eigenvalue 2 j of the hypercube of 6 dimensions has the multiplicity binomial(6, j).
    assert np.bincount((found / 2).round().long()).tolist() == [1, 6, 15, 20, 15, 6, 1]


def test_eigenpairs_are_outer_products_with_small_residuals(product):
    spectrum = product.eigenpairs(20)
    assert (spectrum.nodes, spectrum.modes, spectrum.components) == (35, 20, 1)
    U = spectrum.eigenvectors.numpy()
    np.testing.assert_allclose(U.T @ U, np.eye(20), atol=1e-12)
    np.testing.assert_allclose(EXPLICIT @ U, U * spectrum.eigenvalues.numpy(), atol=1e-12)
    assert spectrum.residuals.max() < 1e-12
    ranks = torch.linalg.matrix_rank(spectrum.eigenvectors.T.reshape(20, 7, 5))
    assert ranks.tolist() == [1] * 20
    assert "row pairs" in spectrum.reason


def test_zeros_are_as_many_as_components():
    two, three = nx.Graph([(0, 1), (2, 3)]), nx.Graph([(0, 1), (2, 3), (4, 5), (5, 6)])
    product = ProductGraph(two, three)
    assert product.components == 6
    # Zeros of a Laplacian are written down exactly.
    assert (product.eigenvalues() == 0).sum() == 6


def test_normalized_operators_are_summed_and_their_sum_is_not_the_normalized_product():
    product = ProductGraph(ROWS, COLUMNS, normalization="sym")
    given = ProductGraph(laplacian(ROWS, "sym"), laplacian(COLUMNS, "sym"))
    expected = np.kron(laplacian(ROWS).to_dense(), np.eye(5)) + np.kron(
        np.eye(7), laplacian(COLUMNS).to_dense()
    )
    np.testing.assert_allclose(product.operator.to_scipy().toarray(), expected, atol=1e-15)
    np.testing.assert_array_equal(given.operator.to_scipy().toarray(), product.operator.to_scipy().toarray())
    assert product.eigenvalues().max() > 2  # which no normalized Laplacian has


def test_adjacencies_are_summed_strongest_modes_first():
    product = ProductGraph(adjacency(ROWS), adjacency(COLUMNS))
    values = np.linalg.eigvalsh(product.operator.to_scipy().toarray())[::-1]
    np.testing.assert_allclose(product.eigenvalues(10).numpy(), values[:10], atol=1e-12)


def test_transposing_changes_nothing_but_the_order_of_entries(product):
    other = ProductGraph(COLUMNS, ROWS)
    torch.testing.assert_close(other.penalty(X.T), product.penalty(X))
    torch.testing.assert_close(other.eigenvalues(), product.eigenvalues(), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        other.apply_filter(X.T, heat(0.5)).T, product.apply_filter(X, heat(0.5)), rtol=0, atol=1e-12
    )


def test_renaming_rows_and_columns_renames_the_result(product):
    source = torch.Generator().manual_seed(1)
    p, q = torch.randperm(7, generator=source), torch.randperm(5, generator=source)
    renamed = ProductGraph(L_R_graph := np.diag(np.diag(L_R)) - L_R, COLUMNS)
    moved = ProductGraph(L_R_graph[p][:, p], (np.diag(np.diag(L_C)) - L_C)[q][:, q])
    torch.testing.assert_close(moved @ X[p][:, q], (renamed @ X)[p][:, q], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_penalty_is_summed_in_float32(product, dtype):
    low = X.to(dtype)
    found = product.penalty(low)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(product.penalty(low.double()).item(), rel=1e-5)
    gradient = product.penalty_gradient(low)
    assert gradient.dtype == dtype
    expected = product.penalty_gradient(low.double())
    torch.testing.assert_close(gradient, expected.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 4), (4, 1)])
def test_matrices_of_no_or_one_row_or_column_work(shape):
    product = ProductGraph(nx.path_graph(shape[0]), nx.path_graph(shape[1]))
    signal = torch.ones(shape)
    assert product.penalty(signal).item() == 0
    assert torch.equal(product.penalty_gradient(signal), torch.zeros(shape))
    assert product.eigenvalues().shape == (shape[0] * shape[1],)
    torch.testing.assert_close(product.apply_filter(signal, "identity"), signal)
    torch.testing.assert_close(product.apply_filter(signal, heat(1.0)), signal)


def test_one_graph_alone_is_that_graph(product):
    alone = ProductGraph(ROWS, zero_operator(5))
    expected = (X * (laplacian(ROWS, None) @ X)).sum()
    torch.testing.assert_close(alone.penalty(X), expected)


@pytest.mark.parametrize("method", ["penalty", "penalty_gradient"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_entries_that_are_not_finite_raise(product, method, bad):
    signal = X.clone()
    signal[1, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        getattr(product, method)(signal)
    with pytest.raises(ValueError, match="NaN or infinite"):
        product.apply_filter(signal, "identity")


@pytest.mark.parametrize("wrong", [X.T, X.flatten(), X[:, :3]])
def test_wrong_shapes_raise_before_work_is_spent(product, wrong, monkeypatch):
    made = "paramgraph.filters._product_graph.prepare_product_filter"
    monkeypatch.setattr(made, lambda *_: pytest.fail("work was spent"))
    with pytest.raises(ValueError, match=r"\(7, 5\)"):
        product.penalty(wrong)
    with pytest.raises(ValueError, match=r"\(7, 5\)"):
        product.apply_filter(wrong, heat(1.0))


@pytest.mark.parametrize(
    ("k", "error"), [(0, ValueError), (36, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_number_of_pairs_is_checked(product, k, error):
    with pytest.raises(error, match="k"):
        product.eigenvalues(k)


def test_too_large_eigenvectors_are_refused_with_their_size():
    big = ProductGraph(zero_operator(40_000), zero_operator(1000))
    with pytest.raises(ValueError, match=r"3\.0 GiB"):
        big.eigenpairs(10)


@pytest.mark.usefixtures("unchecked_types")
def test_graphs_are_checked_when_they_are_given():
    with pytest.raises(ValueError, match="not negative"):
        ProductGraph(-np.ones((3, 3)), COLUMNS)
    with pytest.raises(TypeError, match="a graph is"):
        ProductGraph("ring", COLUMNS)


def gram(nodes: int, rank: int) -> np.ndarray:
    features = np.random.default_rng(nodes).standard_normal((nodes, rank))
    return features @ features.T / rank


B, A = gram(7, 3), gram(5, 6)


@pytest.fixture
def tensor() -> ProductGraph:
    return ProductGraph(B, A, kind="tensor")


def test_graphs_under_tensor_stand_for_their_adjacencies():
    found = ProductGraph(ROWS, COLUMNS, kind="tensor")
    expected = np.kron(nx.to_numpy_array(ROWS), nx.to_numpy_array(COLUMNS))
    np.testing.assert_array_equal(found.operator.to_scipy().toarray(), expected)
    given = ProductGraph(laplacian(ROWS, None), laplacian(COLUMNS, None), kind="tensor")
    np.testing.assert_allclose(given.operator.to_scipy().toarray(), np.kron(L_R, L_C), rtol=1e-15)
    assert repr(found).endswith("kind='tensor')")


def test_penalty_of_a_product_and_its_gradient_are_those_of_the_explicit_matrix(tensor):
    x = X.flatten().numpy()
    expected = x @ np.kron(B, A) @ x
    assert tensor.penalty(X).item() == pytest.approx(expected, rel=1e-12)
    assert tensor.penalty(X).item() == pytest.approx(np.trace(B @ X.numpy() @ A @ X.numpy().T), rel=1e-12)
    signal = X.clone().requires_grad_()
    tensor.penalty(signal).backward()
    torch.testing.assert_close(tensor.penalty_gradient(X), signal.grad, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(tensor.penalty, X.clone().requires_grad_())


def test_modes_of_a_product_are_those_of_the_explicit_matrix_strongest_first(tensor):
    every = np.linalg.eigvalsh(np.kron(B, A))[::-1]
    np.testing.assert_allclose(tensor.eigenvalues().numpy(), every, atol=1e-12)
    np.testing.assert_allclose(tensor.eigenvalues(6).numpy(), every[:6], atol=1e-12)
    spectrum = tensor.eigenpairs(6)
    vectors = spectrum.eigenvectors.numpy()
    np.testing.assert_allclose(np.kron(B, A) @ vectors, vectors * every[:6], atol=1e-12)
    # Seven less three rows of zeros, times five columns.
    assert (every.round(9) == 0).sum() == 20 == (tensor.eigenvalues().round(decimals=9) == 0).sum()


def test_measured_eigenvalues_take_the_place_of_the_products_own(tensor):
    own = tensor.apply_filter(X, tikhonov(2.0))
    values = torch.outer(*(spectrum.eigenvalues for spectrum in tensor.spectra)).clamp(min=0)
    torch.testing.assert_close(
        tensor.apply_filter(X, tikhonov(2.0), eigenvalues=values), own, rtol=0, atol=1e-12
    )
    ready = tensor.prepare_filter(tikhonov(2.0), eigenvalues=torch.ones(7, 5))
    torch.testing.assert_close(ready(X), X / 3, rtol=0, atol=1e-12)
    assert ready.reason == "the modes are given"
    # A number at the cut-off is where it is: measured ones have no rounding.
    cut = tensor.apply_filter(X, lambda s: (s <= 1).double(), eigenvalues=torch.ones(7, 5))
    torch.testing.assert_close(cut, X, rtol=0, atol=1e-12)


def test_spectra_are_complete_and_solved_once(tensor):
    assert [spectrum.modes for spectrum in tensor.spectra] == [7, 5]
    assert tensor.spectra[0] is tensor.spectra[0]
    assert tensor.prepare_filter(tikhonov(1.0)).bases[0] is tensor.spectra[0].eigenvectors


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: ProductGraph(B, A, kind="strong"), "allowed: 'cartesian', 'tensor'"),
        (lambda: ProductGraph(B, A, "sym", "tensor"), "leave it out"),
        (lambda: ProductGraph(laplacian(ROWS), A, kind="tensor"), "of one kind"),
        (
            lambda: ProductGraph(B, A, kind="tensor").prepare_filter(heat(1.0), eigenvalues=torch.ones(5, 7)),
            r"shape \(7, 5\)",
        ),
    ],
)
def test_wrong_products_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        change()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 4), (4, 1)])
def test_products_of_no_or_one_row_or_column_work(shape):
    product = ProductGraph(*map(np.eye, shape), kind="tensor")
    signal = torch.ones(shape)
    assert product.penalty(signal).item() == product.nodes == product.components
    torch.testing.assert_close(product.apply_filter(signal, tikhonov(1.0)), signal / 2)
    torch.testing.assert_close(product.apply_filter(signal, "identity"), signal, rtol=0, atol=0)
