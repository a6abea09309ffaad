"""The null of permuted nodes."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import CosineKNN, Gram, Permuted, Ring, UnknownNameError, graph_to_scipy


def some_nodes() -> Data:
    return Data(x=torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(8)))


@pytest.mark.parametrize("inner", [CosineKNN(k=3), CosineKNN(k=3, signed=True), Gram()])
def test_spectrum_weights_and_degrees_stay(inner: object) -> None:
    before = graph_to_scipy(inner(some_nodes())).toarray()  # type: ignore[operator]
    after = graph_to_scipy(Permuted(inner, seed=3)(some_nodes())).toarray()  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.sort(after, axis=None), np.sort(before, axis=None))
    np.testing.assert_array_equal(np.sort(np.diag(after)), np.sort(np.diag(before)))
    np.testing.assert_array_equal(np.sort((after != 0).sum(axis=0)), np.sort((before != 0).sum(axis=0)))
    np.testing.assert_allclose(np.linalg.eigvalsh(after), np.linalg.eigvalsh(before), rtol=0, atol=1e-12)
    assert not np.array_equal(after, before)


def test_diagonal_moves_with_its_node() -> None:
    before = graph_to_scipy(Gram()(some_nodes())).toarray()
    after = graph_to_scipy(Permuted(Gram(), seed=3)(some_nodes())).toarray()
    moved_to = np.empty(20, dtype=int)  # the diagonal tells the nodes apart
    moved_to[np.argsort(np.diag(before))] = np.argsort(np.diag(after))
    np.testing.assert_array_equal(after[np.ix_(moved_to, moved_to)], before)


def test_features_and_sign_stay() -> None:
    data = some_nodes()
    graph = Permuted(CosineKNN(k=2, signed=True))(data)
    assert graph.x is data.x
    assert graph.signed is True


def test_plain_function_can_be_permuted() -> None:
    assert Permuted(lambda data: Ring()(data))(Data(num_nodes=5)).num_edges == 10


def test_name_becomes_a_builder_and_shows() -> None:
    assert repr(Permuted("ring", seed=2)) == "Permuted(builder=Ring(), seed=2)"
    with pytest.raises(UnknownNameError, match="did you mean 'ring'"):
        Permuted("rings")


def test_seed_is_checked_at_once() -> None:
    with pytest.raises(ValueError, match="permuted: seed must be from 0"):
        Permuted(Ring(), seed=-1)


def test_broken_inner_graph_is_refused() -> None:
    with pytest.raises(ValueError, match="edge_index is missing"):
        Permuted(lambda data: data)(Data(num_nodes=3))
