"""The ring of indices."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import Ring, graph_to_scipy


@pytest.mark.parametrize(("nodes", "edges"), [(0, 0), (1, 0), (2, 2), (3, 6), (10, 20)])
def test_ring_has_one_edge_per_node_except_the_smallest(nodes: int, edges: int) -> None:
    graph = Ring()(Data(num_nodes=nodes))
    assert graph.num_edges == edges
    assert graph.edge_weight.tolist() == [1.0] * edges


@pytest.mark.parametrize("nodes", [3, 8, 15])
def test_spectrum_of_the_laplacian_is_known(nodes: int) -> None:
    matrix = graph_to_scipy(Ring()(Data(num_nodes=nodes))).toarray()
    eigenvalues = np.linalg.eigvalsh(np.diag(matrix.sum(axis=1)) - matrix)
    expected = np.sort(2.0 - 2.0 * np.cos(2.0 * np.pi * np.arange(nodes) / nodes))
    np.testing.assert_allclose(eigenvalues, expected, rtol=0, atol=1e-12)  # of a dense solver


def test_features_play_no_part() -> None:
    numbers = torch.Generator().manual_seed(0)
    left, right = (Ring()(Data(x=torch.randn(6, 2, generator=numbers))) for _ in range(2))
    assert torch.equal(left.edge_index, right.edge_index)
    assert torch.equal(left.edge_weight, right.edge_weight)
