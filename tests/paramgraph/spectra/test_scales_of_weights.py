"""Weights of any scale, also of several in one graph: eigenvalues are right in their own units, or it is said."""

import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import torch

import paramgraph
from paramgraph.plotting import node_positions

PATH = nx.to_numpy_array(nx.path_graph(4))
# Of the combinatorial Laplacian of a path of four nodes: 2 - 2 cos(pi j / 4).
EIGENVALUES = 2 - 2 * np.cos(np.pi * np.arange(4) / 4)
SCALES = [1e-300, 1e-160, 1e160, 1e300]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("solver", paramgraph.list_solvers())
def test_eigenvalues_scale_with_the_weights(scale, solver):
    spectrum = paramgraph.eigenpairs(paramgraph.laplacian(scale * PATH, None), solver=solver)
    np.testing.assert_allclose(
        spectrum.eigenvalues / scale, EIGENVALUES, atol=1e-13
    )  # rounding of O(nodes) steps


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1e160])
def test_a_component_keeps_its_digits_beside_another_of_other_units(scale):
    weights = scipy.linalg.block_diag(PATH, scale * PATH)
    found = paramgraph.eigenpairs(paramgraph.laplacian(weights, None)).eigenvalues.numpy()
    expected = np.sort([*EIGENVALUES, *(scale * EIGENVALUES)])
    np.testing.assert_allclose(found, expected, rtol=1e-13)  # rounding, of each by itself
    strong = paramgraph.eigenpairs(paramgraph.adjacency(weights)).eigenvalues.numpy()
    one = 2 * np.cos(np.pi * np.arange(1, 5) / 5)  # of the adjacency of a path of four nodes
    np.testing.assert_allclose(strong, np.sort([*one, *(scale * one)])[::-1], rtol=1e-13)


@pytest.mark.parametrize("method", ["exact", "lowrank", "chebyshev", "solve"])
@pytest.mark.parametrize("scale", SCALES)
def test_filters_scale_with_the_weights(scale, method):
    X = torch.arange(8.0, dtype=torch.float64).reshape(4, 2)
    expected = paramgraph.apply_filter(paramgraph.laplacian(PATH, None), X, paramgraph.tikhonov(1.0))
    operator, response = paramgraph.laplacian(scale * PATH, None), paramgraph.tikhonov(1 / scale)
    found = paramgraph.apply_filter(operator, X, response, method=method, order=60)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)  # of order 60, and conditions of about 4
    assert paramgraph.smoothness(operator, X) / scale == pytest.approx(
        paramgraph.smoothness(paramgraph.laplacian(PATH, None), X)
    )


def test_a_tie_too_weak_for_vectors_of_the_random_walk_is_refused_by_name():
    weights = np.pad(PATH, (0, 1))
    weights[3, 4] = weights[4, 3] = 1e-160
    with pytest.raises(
        paramgraph.NotConvergedError, match=r"degrees from 1e-160 to 2 are too far apart.*'rw'"
    ):
        paramgraph.eigenpairs(paramgraph.laplacian(weights, "rw"))
    found = paramgraph.eigenpairs(paramgraph.laplacian(weights, "sym"))
    assert float(found.residuals.max()) < 1e-14


@pytest.mark.parametrize("scale", SCALES)
def test_products_of_eigenvalues_that_float64_cannot_hold_are_refused(scale):
    with pytest.raises(ValueError, match="have products beyond the range of float64; divide the weights"):
        paramgraph.ProductGraph(scale * PATH, scale * PATH, kind="tensor").eigenvalues(2)
    balanced = paramgraph.ProductGraph(scale * PATH, PATH / scale, kind="tensor").eigenvalues(1)
    assert float(balanced[0]) == pytest.approx((2 * np.cos(np.pi / 5)) ** 2)


@pytest.mark.parametrize("layout", ["spring", "spectral"])
@pytest.mark.parametrize("scale", SCALES)
def test_a_drawing_does_not_depend_on_the_units(scale, layout):
    power = 2.0 ** round(np.log2(scale))  # exact: other factors round, and a spring layout amplifies that
    np.testing.assert_array_equal(node_positions(power * PATH, layout), node_positions(PATH, layout))


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
@pytest.mark.parametrize("scale", [1e-323, 1e-310])
def test_weights_that_have_lost_their_digits_are_refused(scale, normalization):
    with pytest.raises(
        ValueError, match=r"float64 loses its digits, below 2\.2e-308; divide all weights by the largest"
    ):
        paramgraph.laplacian(scale * PATH, normalization)
    paramgraph.laplacian(
        scipy.linalg.block_diag(PATH, scale * PATH), normalization
    )  # beside others they may be zeros
