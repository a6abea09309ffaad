"""Nulls of operators: what stays of the spectrum, and what is taken away."""

import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import adjacency, laplacian
from paramgraph.spectra import KroneckerModes, KroneckerProduct, eigenpairs, null_operator

KINDS = ("permuted", "rotated", "strongest", "diagonal", "swapped")


@pytest.fixture
def matrix():
    features = np.random.default_rng(0).normal(size=(5, 9))
    return features @ features.T


@pytest.fixture
def modes():
    generator = torch.Generator().manual_seed(0)
    U, V = (torch.linalg.qr(torch.randn(size, size, generator=generator).double())[0] for size in (3, 4))
    return KroneckerModes(U, V, torch.rand(3, 4, generator=generator).double())


@pytest.mark.parametrize("kind", ["permuted", "rotated", "swapped"])
def test_the_spectrum_stays(matrix, modes, kind):
    found = null_operator(adjacency(matrix), kind, 1).to_dense()
    np.testing.assert_allclose(np.linalg.eigvalsh(found), np.linalg.eigvalsh(matrix), atol=1e-10)
    assert not np.allclose(found, matrix)
    before, after = (
        np.linalg.eigvalsh(each.to_scipy().toarray()) for each in (modes, null_operator(modes, kind, 1))
    )
    np.testing.assert_allclose(after, before, atol=1e-10)


def test_swapped_has_the_same_modes_in_reverse(matrix, modes):
    values, vectors = np.linalg.eigh(matrix)
    found = null_operator(adjacency(matrix), "swapped", 0).to_dense()
    np.testing.assert_allclose(found, vectors * values[::-1] @ vectors.T, atol=1e-10)
    turned = null_operator(modes, "swapped", 0).eigenvalues.flatten()
    order = modes.eigenvalues.flatten().argsort()
    assert torch.equal(turned[order], modes.eigenvalues.flatten()[order.flip(0)])


def test_strongest_is_one_mode_of_each_side(matrix, modes):
    values, vectors = np.linalg.eigh(matrix)
    found = null_operator(adjacency(matrix), "strongest", 0).to_dense()
    np.testing.assert_allclose(found, values[-1] * np.outer(vectors[:, -1], vectors[:, -1]), atol=1e-10)
    kept = null_operator(modes, "strongest", 0).eigenvalues
    row, column = modes.eigenvalues.sum(1).argmax(), modes.eigenvalues.sum(0).argmax()
    assert torch.equal(kept[row], modes.eigenvalues[row])
    assert torch.equal(kept[:, column], modes.eigenvalues[:, column])
    assert int(kept.count_nonzero()) == 3 + 4 - 1


def test_diagonal_is_that_of_the_operator_on_its_nodes(matrix, modes):
    found = null_operator(adjacency(matrix), "diagonal", 0).to_dense()
    np.testing.assert_array_equal(found, np.diag(np.diag(matrix)))
    whole, diagonal = (each.to_scipy().toarray() for each in (modes, null_operator(modes, "diagonal", 0)))
    np.testing.assert_allclose(diagonal, np.diag(np.diag(whole)), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_of_graphs_has_the_nulls_of_its_sides(matrix, kind):
    sides = adjacency(matrix), adjacency(matrix[:3, :3])
    found = null_operator(KroneckerProduct(*sides), kind, 1)
    assert type(found) is KroneckerProduct
    alone = null_operator(sides[0], kind, 1).to_dense()
    np.testing.assert_array_equal(found.rows.to_dense(), alone)
    assert found.columns.nodes == 3


def test_a_permuted_sparse_operator_is_in_order():
    L = laplacian(nx.erdos_renyi_graph(30, 0.2, seed=1), None)
    P = null_operator(L, "permuted", 0)
    assert P.to_scipy().has_canonical_format
    dense = P.to_dense()
    assert P.fingerprint() == laplacian(np.diag(np.diag(dense)) - dense, None).fingerprint()
    product = (P.to_torch() * L.to_torch()).to_dense()
    np.testing.assert_array_equal(product.numpy(), dense * L.to_dense())


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0])
@pytest.mark.usefixtures("unchecked_types")
def test_a_seed_that_no_generator_takes_is_refused(seed, modes):
    for operator in (laplacian(nx.path_graph(4)), modes):
        with pytest.raises(ValueError, match=r"seed is .*; it must be an int from 0 to 2\^63 - 1"):
            null_operator(operator, "permuted", seed)


@pytest.mark.parametrize("kind", ["rotated", "diagonal"])
def test_a_laplacian_has_no_null_that_says_nothing(kind):
    L = laplacian(nx.path_graph(4))
    with pytest.raises(ValueError, match="take 'permuted', or shift='adjacency'"):
        null_operator(L, kind, 0)
    assert eigenpairs(null_operator(L, "permuted", 0)).eigenvalues.shape == (4,)
