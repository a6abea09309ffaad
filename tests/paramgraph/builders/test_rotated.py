"""The null of a random rotation with the same spectrum."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import CosineKNN, Gram, Ring, Rotated, graph_to_scipy


def some_nodes(dtype: torch.dtype = torch.float64) -> Data:
    source = torch.Generator().manual_seed(9)
    return Data(x=torch.randn(20, 6, dtype=torch.float64, generator=source).to(dtype))


@pytest.mark.parametrize("inner", [CosineKNN(k=3), Gram(), Ring()])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_spectrum_stays_and_vectors_go(inner: object, dtype: torch.dtype, tolerance: float) -> None:
    before = graph_to_scipy(inner(some_nodes(dtype))).toarray()  # type: ignore[operator]
    after = graph_to_scipy(Rotated(inner, seed=1)(some_nodes(dtype))).toarray()  # type: ignore[arg-type]
    expected = np.linalg.eigvalsh(before)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(after), expected, rtol=0, atol=tolerance * abs(expected).max()
    )
    assert np.linalg.norm(after - before) > 0.1 * np.linalg.norm(before)


def test_trace_lies_on_the_diagonal() -> None:
    graph = Rotated(Gram(), seed=1)(some_nodes())
    assert graph.node_weight.sum().item() == pytest.approx(20.0, rel=1e-12)
    assert graph.signed is True


def test_rotation_is_uniform_in_its_second_moment() -> None:
    # For Haar Q the mean of Q A Q^T is trace(A) / n times the identity.
    nodes, draws = 5, 200
    data = Data(x=torch.tensor([[1.0, 0.0]] + [[0.0, 0.0]] * (nodes - 1), dtype=torch.float64))
    mean = sum(graph_to_scipy(Rotated(Gram(), seed=seed)(data)).toarray() for seed in range(draws)) / draws
    # Gram scales e e^T to trace n; an entry has a standard deviation below 0.9, so 0.4 is 6 sigma of the mean.
    np.testing.assert_allclose(mean, np.eye(nodes), rtol=0, atol=0.4)


def test_identity_stays_the_identity() -> None:
    matrix = graph_to_scipy(Rotated(Gram(), seed=0)(Data(x=torch.eye(6, dtype=torch.float64)))).toarray()
    np.testing.assert_allclose(matrix, np.eye(6), rtol=0, atol=1e-14)


def test_seed_is_checked_at_once() -> None:
    with pytest.raises(ValueError, match="rotated: seed must be from 0"):
        Rotated(Ring(), seed=-1)
