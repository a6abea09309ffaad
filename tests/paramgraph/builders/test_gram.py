"""The dense Gram matrix."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import Gram, graph_to_scipy


def some_nodes(dtype: torch.dtype = torch.float64) -> Data:
    source = torch.Generator().manual_seed(6)
    return Data(x=torch.randn(12, 5, dtype=torch.float64, generator=source).to(dtype))


def test_matrix_is_the_scaled_product() -> None:
    x = some_nodes().x.numpy()
    expected = x @ x.T * 12 / np.trace(x @ x.T)
    np.testing.assert_allclose(
        graph_to_scipy(Gram()(some_nodes())).toarray(), expected, rtol=1e-13, atol=1e-14
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_mean_of_the_diagonal_is_one(dtype: torch.dtype) -> None:
    assert Gram()(some_nodes(dtype)).node_weight.mean().item() == pytest.approx(1.0, abs=1e-6)  # float32


def test_matrix_is_positive_semidefinite_of_the_rank_of_the_features() -> None:
    eigenvalues = np.linalg.eigvalsh(graph_to_scipy(Gram()(some_nodes())).toarray())
    assert eigenvalues.min() > -1e-12  # rounding
    assert (eigenvalues > 1e-10).sum() == 5


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_scale_of_the_features_does_not_matter(scale: float) -> None:
    plain, scaled = Gram()(some_nodes()), Gram()(Data(x=some_nodes().x * scale))
    torch.testing.assert_close(plain.edge_weight, scaled.edge_weight, rtol=1e-12, atol=1e-12)


def test_products_that_are_exactly_zero_are_no_edges() -> None:
    graph = Gram()(Data(x=torch.eye(3)))
    assert graph.num_edges == 0
    assert graph.node_weight.tolist() == [1.0, 1.0, 1.0]


def test_zero_row_is_an_isolated_node_of_weight_zero() -> None:
    data = some_nodes()
    data.x[3] = 0.0
    graph = Gram()(data)
    assert 3 not in graph.edge_index
    assert graph.node_weight[3] == 0.0


@pytest.mark.parametrize("shape", [(4, 3), (4, 0), (1, 1)])
def test_features_that_are_all_zero_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"all features of the {shape[0]} nodes are zero"):
        Gram()(Data(x=torch.zeros(shape)))


def test_no_nodes_give_an_empty_graph() -> None:
    graph = Gram()(Data(x=torch.zeros(0, 3)))
    assert graph.num_nodes == 0
    assert graph.node_weight.shape == (0,)


def test_graph_is_signed() -> None:
    graph = Gram()(some_nodes())
    assert graph.signed is True
    assert (graph.edge_weight < 0).any()
