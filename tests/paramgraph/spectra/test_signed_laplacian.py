"""The signed Laplacian: what it is, when it has null vectors, and that nothing becomes signed unasked."""

import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings, strategies as st
from matplotlib.figure import Figure
from torch_geometric.data import Data

from paramgraph import ProductGraph, adjacency, draw_spectrum, eigenpairs, laplacian, spectral_gap
from paramgraph.display import spectrum_html

NORMALIZATIONS = [None, "sym", "rw"]


def signed_weights(nodes: int, seed: int, density: float = 0.3) -> np.ndarray:
    source = np.random.default_rng(seed)
    upper = np.triu(source.uniform(-1, 1, (nodes, nodes)) * (source.random((nodes, nodes)) < density), 1)
    return upper + upper.T


def cycle(signs: list[float]) -> np.ndarray:
    weights = np.zeros((len(signs),) * 2)
    for node, sign in enumerate(signs):
        other = (node + 1) % len(signs)
        weights[node, other] = weights[other, node] = sign
    return weights


BALANCED = cycle([1, -1, 1, -1, 1])  # an even number of negative edges
UNBALANCED = cycle([1, -1, 1, 1, 1])


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_signed_laplacian_is_its_formula(normalization):
    weights = signed_weights(15, 0)
    weights[3] = weights[:, 3] = 0
    degrees = np.abs(weights).sum(axis=1)
    inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    expected = {
        None: np.diag(degrees) - weights,
        "sym": np.diag(np.sign(degrees)) - np.sqrt(inverse)[:, None] * weights * np.sqrt(inverse),
        "rw": np.diag(np.sign(degrees)) - inverse[:, None] * weights,
    }[normalization]
    operator = laplacian(weights, normalization, signed=True)
    np.testing.assert_allclose(operator.to_dense(), expected, atol=1e-15)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_without_negative_weights_it_is_the_ordinary_laplacian(normalization):
    weights = np.abs(signed_weights(12, 1))
    one, other = laplacian(weights, normalization), laplacian(weights, normalization, signed=True)
    assert np.array_equal(one.to_dense(), other.to_dense())
    assert np.array_equal(one.null_space(), other.null_space())


def test_quadratic_form_compares_neighbours_with_their_sign():
    weights = signed_weights(9, 2)
    x = np.random.default_rng(0).standard_normal(9)
    differences = x[:, None] - np.sign(weights) * x[None, :]
    expected = (np.abs(weights) * differences**2).sum() / 2
    assert x @ (laplacian(weights, None, signed=True) @ x) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_balanced_cycle_has_one_signed_null_vector(normalization):
    operator = laplacian(BALANCED, normalization, signed=True)
    assert (operator.components, operator.nullity) == (1, 1)
    null = operator.null_space()[:, 0]
    assert np.sign(null * null[0]).tolist() == [1, 1, -1, -1, 1]
    np.testing.assert_allclose(operator @ null, 0, atol=1e-15)


def test_unbalanced_cycle_has_no_null_vector_and_a_known_spectrum():
    operator = laplacian(UNBALANCED, None, signed=True)
    assert (operator.components, operator.nullity) == (1, 0)
    assert operator.null_space().shape == (5, 0)
    # A negative cycle is the antiperiodic one: 2 - 2 cos(pi (2 j + 1) / n).
    expected = np.sort(2 - 2 * np.cos(np.pi * (2 * np.arange(5) + 1) / 5))
    spectrum = eigenpairs(operator)
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, atol=1e-14)
    assert spectrum.nullity == 0
    assert not (spectrum.eigenvalues == 0).any()


def test_only_balanced_components_and_loners_give_exact_zeros():
    weights = np.zeros((12, 12))
    weights[:5, :5], weights[5:10, 5:10], weights[10, 11] = UNBALANCED, BALANCED, 0.0
    operator = laplacian(weights, signed=True)
    spectrum = eigenpairs(operator)
    assert (spectrum.components, spectrum.nullity) == (4, 3)
    assert int((spectrum.eigenvalues == 0.0).sum()) == 3
    assert spectrum.residuals.max() < 1e-14


@pytest.mark.parametrize("signed_edge", [1.0, -1.0])
def test_large_signed_ring_is_solved_iteratively_and_certified(signed_edge):
    nodes = 3000
    signs = [1.0] * nodes
    signs[7] = signed_edge
    weights = nx.to_scipy_sparse_array(nx.cycle_graph(nodes), format="lil", dtype=float)
    weights[7, 8] = weights[8, 7] = signed_edge
    spectrum = eigenpairs(laplacian(weights.tocsr(), None, signed=True), k=6, certify=True)
    angle = np.arange(nodes) if signed_edge > 0 else np.arange(nodes) + 0.5
    expected = np.sort(2 - 2 * np.cos(2 * np.pi * angle / nodes))[:6]
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, atol=1e-13)
    assert spectrum.solver == "shift_invert"
    assert spectrum.certified is True


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 14), normalization=st.sampled_from(NORMALIZATIONS))
def test_positive_semidefinite_within_its_interval_with_all_its_zeros(seed, nodes, normalization):
    operator = laplacian(signed_weights(nodes, seed, 0.2), normalization, signed=True)
    values = np.sort(np.linalg.eigvals(operator.to_dense()).real)
    low, high = operator.interval
    assert values.min() > low - 1e-12
    assert values.max() < high + 1e-12
    # Of random weights no eigenvalue other than 0 comes that close.
    assert int((values < 1e-9).sum()) == operator.nullity
    np.testing.assert_allclose(operator @ operator.null_space(), 0, atol=1e-14)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(2, 12))
def test_switching_signs_of_nodes_keeps_the_spectrum(seed, nodes):
    weights = signed_weights(nodes, seed)
    flip = np.random.default_rng(seed).choice([-1.0, 1.0], nodes)
    one = eigenpairs(laplacian(weights, signed=True))
    other = eigenpairs(laplacian(flip[:, None] * weights * flip, signed=True))
    torch.testing.assert_close(one.eigenvalues, other.eigenvalues, atol=1e-13, rtol=0)
    assert one.nullity == other.nullity


def signed_data(weight: float) -> Data:
    edge_weight = torch.tensor([weight, weight])
    return Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=edge_weight, num_nodes=2, signed=True)


@pytest.mark.parametrize("weight", [1.0, -1.0])
@pytest.mark.parametrize("signed", [None, False])
def test_graph_that_says_it_is_signed_is_refused_unless_asked_for(weight, signed):
    with pytest.raises(ValueError, match="signed=True"):
        laplacian(signed_data(weight), signed=signed)
    assert laplacian(signed_data(weight), None, signed=True).to_dense()[0, 1] == -weight


@pytest.mark.usefixtures("unchecked_types")
def test_signed_that_is_no_bool_raises():
    with pytest.raises(TypeError, match="True, False or None"):
        laplacian(BALANCED, signed="yes")


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_no_nodes_and_no_edges(normalization):
    assert laplacian(np.zeros((0, 0)), normalization, signed=True).nullity == 0
    assert laplacian(np.zeros((3, 3)), normalization, signed=True).nullity == 3


def test_repr_says_signed():
    assert repr(laplacian(BALANCED, signed=True)).endswith("normalization='sym', signed=True, nodes=5)")


def test_adjacency_has_no_nullity():
    with pytest.raises(ValueError, match="use laplacian"):
        _ = adjacency(BALANCED).nullity


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gap_comes_after_the_zeros_of_the_balanced_components(normalization):
    # A component without balance has no zero, so zeros are fewer than components.
    operator = laplacian(scipy.linalg.block_diag(BALANCED, UNBALANCED), normalization, signed=True)
    spectrum = eigenpairs(operator)
    assert (spectrum.components, spectrum.zeros) == (2, 1)
    expected = np.sort(np.linalg.eigvals(operator.to_dense()).real)[1]
    assert spectral_gap(spectrum) == pytest.approx(expected, abs=1e-12)
    assert f">{expected:.4g}</td>" in spectrum_html(spectrum)
    assert draw_spectrum(spectrum, Figure().subplots()).texts[0].get_text() == f"gap {expected:.3g}"


def test_gap_of_an_unbalanced_graph_begins_at_zero():
    spectrum = eigenpairs(laplacian(UNBALANCED, None, signed=True))
    ax = draw_spectrum(spectrum, Figure().subplots())
    assert spectrum.zeros == 0
    assert spectral_gap(spectrum) == spectrum.eigenvalues[0].item() > 0
    assert ax.texts[0].get_text() == f"gap {spectral_gap(spectrum):.3g}"


def test_product_of_signed_graphs_has_the_product_of_their_zeros():
    parts = [laplacian(weights, None, signed=True) for weights in (BALANCED, UNBALANCED)]
    product = ProductGraph(*parts)
    spectrum = product.eigenpairs()
    assert spectrum.zeros == product.operator.nullity == 0
    assert product.operator.null_basis().shape == (25, 0)
    assert ProductGraph(parts[0], parts[0]).eigenpairs().zeros == 1
