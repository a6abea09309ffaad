"""Filters on the tensor product of two graphs, and on modes that were measured."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.linalg import fractional_matrix_power
from torch_geometric.data import Data

from paramgraph import Gram, adjacency, heat, lowpass, power, tikhonov
from paramgraph.filters import prepare_product_filter
from paramgraph.spectra import KroneckerModes, KroneckerProduct

SOURCE = torch.Generator().manual_seed(0)


def gram(nodes: int, rank: int) -> torch.Tensor:
    features = torch.randn(nodes, rank, dtype=torch.float64, generator=SOURCE)
    return features @ features.T / rank


B, A = gram(7, 9), gram(5, 2)  # the column graph is of low rank
PRODUCT = KroneckerProduct(adjacency(B), adjacency(A))
U, V = (spectrum.eigenvectors for spectrum in PRODUCT.spectra)
S = torch.rand(7, 5, dtype=torch.float64, generator=SOURCE)
X = torch.randn(7, 5, dtype=torch.float64, generator=SOURCE)


def explicit(response) -> np.ndarray:
    values, vectors = np.linalg.eigh(PRODUCT.to_scipy().toarray())
    gain = response(torch.from_numpy(values)).numpy()
    return (vectors @ (gain * (vectors.T @ X.flatten().numpy()))).reshape(7, 5)


@pytest.mark.parametrize("response", [heat(0.7), tikhonov(2.0), lambda x: torch.cos(x)])
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_filter_is_that_of_the_explicit_kronecker_product(response, method):
    found = prepare_product_filter(PRODUCT, response, method)
    assert found.method == "exact"
    np.testing.assert_allclose(found(X).numpy(), explicit(response), atol=1e-11)


def test_polynomial_of_the_product_is_near_the_filter():
    # The interval reaches below 0, as Gershgorin's discs do, which heat does not mind.
    found = prepare_product_filter(PRODUCT, heat(0.02), "chebyshev", order=60)
    np.testing.assert_allclose(found(X).numpy(), explicit(heat(0.02)), atol=1e-7)


def test_kfac_filter_minimises_distance_and_penalty():
    Y = prepare_product_filter(PRODUCT, tikhonov(3.0))(X)
    # Where the gradient of |Y - X|^2 + gamma tr(B Y A Y^T) is zero.
    torch.testing.assert_close(Y + 3.0 * B @ Y @ A, X, rtol=0, atol=1e-12)
    system = np.eye(35) + 3.0 * np.kron(B, A)
    np.testing.assert_allclose(Y.flatten().numpy(), np.linalg.solve(system, X.flatten().numpy()), atol=1e-12)


def test_ekfac_filter_minimises_distance_and_measured_energy():
    Y = prepare_product_filter(KroneckerModes(U, V, S), tikhonov(3.0))(X)
    basis = np.kron(U, V)
    system = np.eye(35) + 3.0 * basis @ np.diag(S.flatten()) @ basis.T
    np.testing.assert_allclose(Y.flatten().numpy(), np.linalg.solve(system, X.flatten().numpy()), atol=1e-12)


def test_strength_to_infinity_keeps_only_what_costs_nothing():
    Y = prepare_product_filter(PRODUCT, tikhonov(1e8))(X)
    # The columns' graph has rank 2: what is left of X lies in its null space.
    # Rounding of its zeros, 1e-15 times the strength, and the weakest other mode, 1e-7 of itself.
    torch.testing.assert_close(Y, X @ V[:, 2:] @ V[:, 2:].T, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("operator", [PRODUCT, KroneckerModes(U, V, S), KroneckerModes(U[:, :2], V, S[:2])])
def test_strength_zero_gives_back_every_bit(operator, dtype):
    signal = X.to(dtype)
    assert torch.equal(prepare_product_filter(operator, tikhonov(0.0))(signal), signal)


def test_modes_left_out_have_the_eigenvalue_zero():
    few, all_others_zero = KroneckerModes(U[:, :2], V[:, :3], S[:2, :3]), torch.zeros(7, 5).double()
    all_others_zero[:2, :3] = S[:2, :3]
    for response in (tikhonov(2.0), lambda x: 0.5 / (1 + x)):
        found = prepare_product_filter(few, response)
        expected = prepare_product_filter(KroneckerModes(U, V, all_others_zero), response)(X)
        torch.testing.assert_close(found(X), expected, rtol=0, atol=1e-12)
        assert "the other 29 have the eigenvalue 0" in found.reason


def test_a_second_response_solves_no_eigenproblem(monkeypatch):
    first = prepare_product_filter(PRODUCT, tikhonov(1.0))
    monkeypatch.setattr("paramgraph.spectra.kronecker_operator.eigenpairs", lambda *_: pytest.fail("solved"))
    second = prepare_product_filter(PRODUCT, tikhonov(2.0))
    assert second.bases[0] is first.bases[0] is PRODUCT.spectra[0].eigenvectors


def test_whole_levels_are_cut_at_their_multiplicity():
    # 2 x 3 and 3 x 2, computed as 6 within a rounding.
    ring = np.diag([2.0, 3.0, 1.0])
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3))).Q
    product = KroneckerProduct(adjacency(turned @ ring @ turned.T), adjacency(ring))
    signal = X[:3, :3]
    kept = prepare_product_filter(product, lowpass(6.0))(signal)
    near = prepare_product_filter(product, lowpass(6.1))(signal)
    torch.testing.assert_close(kept, near, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="jumps within rounding"):
        prepare_product_filter(product, lambda x: (x <= 6.0).to(x.dtype))
    # Of 9, 6, 6, 4 and less, a rank of 2 ends among copies.
    assert "so that none of them" in prepare_product_filter(product, tikhonov(1.0), rank=2, tail=1).reason


@pytest.mark.parametrize("rank", [1, 4, 10, 100])
def test_lowrank_treats_the_strongest_modes_and_the_rest_alike(rank):
    found = prepare_product_filter(PRODUCT, tikhonov(1.0), rank=rank, tail=1)
    values, vectors = np.linalg.eigh(PRODUCT.to_scipy().toarray())
    gain = np.where(np.arange(35) >= 35 - rank, 1 / (1 + values), 1.0)
    expected = (vectors @ (gain * (vectors.T @ X.flatten().numpy()))).reshape(7, 5)
    np.testing.assert_allclose(found(X).numpy(), expected, atol=1e-12)


def test_single_precision_modes_serve_single_precision_matrices_without_a_copy():
    modes = KroneckerModes(U.float(), V.float(), S.float())
    found = prepare_product_filter(modes, tikhonov(1.0))
    result = found(X.float())
    held = found._factors(X.device, torch.float32)
    assert held["U"].data_ptr() == modes.row_basis.data_ptr()
    assert held["gain"].dtype == torch.float32
    exact = prepare_product_filter(KroneckerModes(U, V, S), tikhonov(1.0))(X)
    # Float32 sums of 35 terms of size 1.
    torch.testing.assert_close(result, exact.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operator", [PRODUCT, KroneckerModes(U, V, S)], ids=["product", "modes"])
def test_low_precision_comes_back_as_it_came(operator, dtype):
    low = X.to(dtype)
    found = prepare_product_filter(operator, tikhonov(0.5))
    expected = found(low.double()).to(dtype)
    # One rounding at the end; float32 sums of 35 terms before.
    torch.testing.assert_close(found(low), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("operator", [PRODUCT, KroneckerModes(U, V, S)], ids=["product", "modes"])
def test_filters_are_differentiable_in_the_matrix(operator):
    found = prepare_product_filter(operator, tikhonov(0.5))
    assert torch.autograd.gradcheck(found, X.clone().requires_grad_())


def test_power_of_a_product_is_a_root_on_either_side():
    expected = power(0.25)(torch.from_numpy(np.linalg.eigvalsh(PRODUCT.to_scipy().toarray())))
    exact = prepare_product_filter(PRODUCT, power(0.25))
    assert exact.method == "exact"
    np.testing.assert_allclose(
        np.sort(exact.gain.flatten()), np.sort(expected.numpy()) - 1, rtol=1e-6
    )  # roots of zeros that are 1e-16
    sides = prepare_product_filter(PRODUCT, power(0.25), "separable")
    left, right = (torch.from_numpy(root(each)) for each in (B, A))
    torch.testing.assert_close(sides(X), left @ X @ right, rtol=1e-7, atol=1e-7)
    assert "damping on each side" in sides.reason
    # Without damping both are one.
    full = KroneckerProduct(adjacency(B), adjacency(gram(5, 9)))
    plain = power(-0.5, damping=0.0)
    chosen = prepare_product_filter(full, plain)
    assert chosen.reason.startswith("power of a product is the product of two powers")
    torch.testing.assert_close(chosen(X), prepare_product_filter(full, plain, "exact")(X))


def root(matrix: torch.Tensor) -> np.ndarray:
    """Shampoo's (M + epsilon I)^(-1/4) by SciPy."""
    return fractional_matrix_power(matrix.numpy() + 1e-6 * np.eye(len(matrix)), -0.25)


def test_zero_factor_changes_nothing():
    product = KroneckerProduct(adjacency(B), adjacency(np.zeros((5, 5))))
    assert torch.equal(prepare_product_filter(product, tikhonov(2.0))(X), X)


@pytest.mark.parametrize("options", [{"method": "lowrank"}, {"method": "chebyshev"}, {"rank": 3}])
def test_modes_take_no_method_but_their_own(options):
    with pytest.raises(ValueError, match="has its modes already"):
        prepare_product_filter(KroneckerModes(U, V, S), tikhonov(1.0), **options)


def test_heat_of_a_product_is_no_product_of_heats():
    with pytest.raises(ValueError, match="power alone"):
        prepare_product_filter(PRODUCT, heat(1.0), "separable")


def test_matrix_that_does_not_fit_or_is_not_finite_is_refused():
    found = prepare_product_filter(KroneckerModes(U, V, S), tikhonov(1.0))
    with pytest.raises(ValueError, match=r"\(7, 5\)"):
        found(X.T)
    with pytest.raises(ValueError, match="NaN"):
        found(X * torch.nan)


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 6), columns=st.integers(1, 6), rank=st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_any_two_gram_graphs_shrink_what_is_strong_on_both(seed, rows, columns, rank):
    source = torch.Generator().manual_seed(seed)
    features = [torch.randn(n, rank, dtype=torch.float64, generator=source) for n in (rows, columns)]
    first, second = (each @ each.T for each in features)
    product = KroneckerProduct(adjacency(first), adjacency(second))
    signal = torch.randn(rows, columns, dtype=torch.float64, generator=source)
    found = prepare_product_filter(product, tikhonov(0.1))(signal)
    # The gradient of the fit is zero at the minimiser; eigenvalues of up to some 1e4 lose as many digits.
    torch.testing.assert_close(found + 0.1 * first @ found @ second, signal, rtol=0, atol=1e-9)
    assert (product @ found).norm() <= (product @ signal).norm() * (1 + 1e-12)


def test_rank_deficient_gram_graphs_of_single_precision_have_powers():
    features = [torch.randn(n, 3, generator=SOURCE) for n in (40, 30)]
    graphs = [Gram()(Data(x=each, num_nodes=len(each))) for each in features]
    product = KroneckerProduct(*map(adjacency, graphs))
    assert min(spectrum.eigenvalues.min() for spectrum in product.spectra) < 0  # by rounding
    for method in ("exact", "separable"):
        found = prepare_product_filter(product, power(0.25), method)(torch.ones(40, 30))
        assert bool(found.isfinite().all())
