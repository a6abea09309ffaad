"""The complete graph."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import Complete, check_graph, graph_to_scipy


@pytest.mark.parametrize("nodes", [0, 1, 2, 7])
def test_every_pair_is_linked_by_one(nodes: int) -> None:
    graph = check_graph(Complete()(Data(num_nodes=nodes)))
    assert graph.num_edges == nodes * (nodes - 1)
    if nodes:
        np.testing.assert_array_equal(graph_to_scipy(graph).toarray(), 1.0 - np.eye(nodes))


def test_laplacian_is_n_times_the_identity_off_the_mean() -> None:
    matrix = graph_to_scipy(Complete()(Data(num_nodes=6))).toarray()
    eigenvalues = np.linalg.eigvalsh(np.diag(matrix.sum(axis=0)) - matrix)
    np.testing.assert_allclose(eigenvalues, [0, 6, 6, 6, 6, 6], atol=1e-13)  # rounding of a dense solver


def test_unknown_number_of_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="num_nodes is not set"):
        Complete()(Data(edge_index=torch.zeros(2, 0, dtype=torch.int64)))
