import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import NumericalWarning, adjacency, heat, highpass, identity, laplacian, lowpass, tikhonov
from paramgraph.filters import prepare_product_filter
from paramgraph.spectra import KroneckerSum

from helpers.names import shown

ROWS = laplacian(nx.random_geometric_graph(9, 0.5, seed=1), None)
COLUMNS = laplacian(nx.path_graph(6), None)
PRODUCT = KroneckerSum(ROWS, COLUMNS)
VALUES, VECTORS = np.linalg.eigh(PRODUCT.to_scipy().toarray())
X = torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def explicit(response) -> np.ndarray:
    gain = response(torch.from_numpy(VALUES)).numpy()
    return (VECTORS @ (gain * (VECTORS.T @ X.flatten().numpy()))).reshape(9, 6)


@pytest.mark.parametrize("response", [heat(0.7), tikhonov(2.0), lambda x: torch.cos(x)])
@pytest.mark.parametrize("method", ["auto", "exact", "chebyshev"])
def test_filter_is_that_of_the_explicit_kronecker_sum(response, method):
    found = prepare_product_filter(PRODUCT, response, method, order=200)(X)
    # Exact to rounding; at order 200 so is the polynomial.
    np.testing.assert_allclose(found.numpy(), explicit(response), atol=1e-11)


@pytest.mark.parametrize("response", [lowpass(2.9), highpass(2.9)])
def test_cut_offs_are_exact_through_both_bases(response):
    np.testing.assert_allclose(
        prepare_product_filter(PRODUCT, response)(X).numpy(), explicit(response), atol=1e-12
    )


def test_heat_separates_into_heat_of_rows_and_heat_of_columns():
    found = prepare_product_filter(PRODUCT, heat(0.3))
    assert found.method == "separable"
    L_r, L_c = (torch.from_numpy(each.to_dense()) for each in (ROWS, COLUMNS))
    expected = torch.linalg.matrix_exp(-0.3 * L_r) @ X @ torch.linalg.matrix_exp(-0.3 * L_c)
    torch.testing.assert_close(found(X), expected, rtol=0, atol=1e-13)


def test_tikhonov_solves_the_penalized_fit():
    Y = prepare_product_filter(PRODUCT, tikhonov(3.0))(X)
    torch.testing.assert_close(Y + 3.0 * (PRODUCT @ Y), X, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tail", ["edge", 0, 1])
@pytest.mark.parametrize("rank", [2, 7, 54, 100])
def test_lowrank_treats_the_modes_of_the_lowest_sums_and_the_rest_alike(rank, tail):
    found = prepare_product_filter(PRODUCT, tikhonov(1.0), rank=rank, tail=tail)
    assert found.method == "lowrank"
    gain = 1 / (1 + VALUES)
    if rank < 54:
        assert VALUES[rank] - VALUES[rank - 1] > 1e-6  # rank cuts no eigenspace: the truth is unique
        gain[rank:] = gain[rank - 1] if tail == "edge" else tail
    expected = VECTORS @ (gain * (VECTORS.T @ X.flatten().numpy()))
    np.testing.assert_allclose(found(X).flatten().numpy(), expected, atol=1e-12)


def test_reason_names_the_tail():
    reason = prepare_product_filter(PRODUCT, tikhonov(1.0), rank=1).reason
    assert reason == "rank given; the other 53 modes are multiplied by h = 1 (the last computed mode)"


@pytest.mark.parametrize(
    "response", [identity(), heat(0.0), tikhonov(0.0), lambda x: torch.ones_like(x)], ids=shown
)
@pytest.mark.parametrize("method", ["auto", "exact", "lowrank", "chebyshev"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_identity_gives_back_every_bit(response, method, dtype):
    signal = X.to(dtype)
    found = prepare_product_filter(PRODUCT, response, method)
    assert torch.equal(found(signal), signal)
    assert not found.correction(signal).any()
    assert found(signal) is not signal


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["separable", "exact", "lowrank", "chebyshev"])
def test_low_precision_comes_back_as_it_came(method, dtype):
    low = X.to(dtype)
    before = low.clone()
    found = prepare_product_filter(PRODUCT, heat(0.5), method, rank=20 if method == "lowrank" else None)
    wide = found(low.double())
    result = found(low)
    assert result.dtype == dtype
    # One rounding at the end; float32 sums of 15 terms before.
    torch.testing.assert_close(result, wide.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-5)
    assert torch.equal(low, before)


@pytest.mark.parametrize("method", ["separable", "exact", "lowrank", "chebyshev"])
def test_filters_are_differentiable_in_the_matrix(method):
    found = prepare_product_filter(PRODUCT, heat(0.5), method)
    assert torch.autograd.gradcheck(found, X.clone().requires_grad_())


def test_correction_and_result_add_up():
    found = prepare_product_filter(PRODUCT, tikhonov(1.0))
    torch.testing.assert_close(X + found.correction(X), found(X), rtol=0, atol=0)


def test_large_matrices_are_filtered_by_a_polynomial(monkeypatch):
    monkeypatch.setattr("paramgraph.filters._choice.EXACT_NODES", 8)
    found = prepare_product_filter(PRODUCT, tikhonov(0.5), order=3)
    assert found.method == "chebyshev"
    assert found.order > 3
    assert found.error <= 1e-6
    np.testing.assert_allclose(found(X).numpy(), explicit(tikhonov(0.5)), atol=1e-5)


def test_jump_on_a_large_matrix_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr("paramgraph.filters._choice.EXACT_NODES", 8)
    with pytest.raises(ValueError, match="rank="):
        prepare_product_filter(PRODUCT, lowpass(1.0))


@pytest.mark.filterwarnings("ignore::paramgraph.errors.NumericalWarning")
def test_polynomial_stays_within_its_stated_error():
    found = prepare_product_filter(PRODUCT, tikhonov(5.0), "chebyshev", order=6)
    miss = np.linalg.norm(found(X).numpy() - explicit(tikhonov(5.0)))
    assert 0 < miss <= found.error * torch.linalg.vector_norm(X).item()


def test_strong_modes_of_adjacencies_are_shrunk():
    product = KroneckerSum(adjacency(np.eye(3)), adjacency(2 * np.eye(2)))
    found = prepare_product_filter(product, tikhonov(1.0))
    torch.testing.assert_close(found(torch.ones(3, 2)), torch.full((3, 2), 0.25))


def test_operators_without_edges_change_nothing():
    product = KroneckerSum(laplacian(nx.empty_graph(3)), laplacian(nx.empty_graph(2)))
    signal = torch.arange(6.0).reshape(3, 2)
    for method in ("exact", "chebyshev", "lowrank", "separable"):
        assert torch.equal(prepare_product_filter(product, heat(2.0), method)(signal), signal)


def test_only_heat_separates():
    with pytest.raises(ValueError, match="heat alone"):
        prepare_product_filter(PRODUCT, tikhonov(1.0), "separable")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "options", [{"method": "fast"}, {"tail": 2}, {"order": 0}, {"rank": 0}, {"rank": 1.5}, {"rank": True}]
)
def test_wrong_options_raise(options):
    with pytest.raises(ValueError, match=r"no filter method|no tail|at least 1"):
        prepare_product_filter(PRODUCT, heat(1.0), **options)


def test_response_that_is_not_finite_raises():
    with pytest.raises(ValueError, match="finite"):
        prepare_product_filter(PRODUCT, lambda x: 1 / x)


def test_repr_says_what_runs():
    text = repr(prepare_product_filter(PRODUCT, heat(1.0)))
    assert text.startswith("ProductFilter(heat(t=1.0), separable, shape=(9, 6): ")


def test_poor_polynomial_that_was_asked_for_warns():
    with pytest.warns(NumericalWarning, match="raise order"):
        prepare_product_filter(PRODUCT, tikhonov(1e4), "chebyshev", order=3)


@pytest.mark.parametrize("method", ["separable", "exact", "lowrank", "chebyshev"])
def test_filter_first_called_in_inference_mode_is_differentiable_later(method):
    found = prepare_product_filter(PRODUCT, heat(0.5), method)
    with torch.inference_mode():
        expected = found(X)
    watched = X.clone().requires_grad_()
    found(watched).sum().backward()
    torch.testing.assert_close(found(X), expected, rtol=0, atol=0)
    assert watched.grad.abs().sum() > 0


def test_default_device_of_torch_is_not_used():
    with torch.device("meta"):
        assert prepare_product_filter(PRODUCT, tikhonov(1.0), "exact")(X).device.type == "cpu"
