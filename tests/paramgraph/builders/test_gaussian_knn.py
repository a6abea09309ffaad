"""Gaussian kernel of the distance, self-tuned or of one width."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import GaussianKNN, NumericalWarning, check_graph, connected_components, graph_to_scipy


def some_nodes(nodes: int = 40, width: int = 5) -> Data:
    return Data(x=torch.randn(nodes, width, dtype=torch.float64, generator=torch.Generator().manual_seed(7)))


def by_hand(x: np.ndarray, k: int, sigma: float | None, mutual: bool) -> np.ndarray:
    distance = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
    order = np.argsort(distance + np.diag(np.full(len(x), np.inf)), axis=1, kind="stable")[:, :k]
    chosen = np.zeros_like(distance, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=1)
    chosen = chosen & chosen.T if mutual else chosen | chosen.T
    width = np.take_along_axis(distance, order, axis=1)[:, -1] if sigma is None else np.full(len(x), sigma)
    return np.where(chosen, np.exp(-(distance**2) / np.outer(width, width)), 0.0)


@pytest.mark.parametrize("k", [1, 4, 39])
@pytest.mark.parametrize("sigma", [None, 1.5])
@pytest.mark.parametrize("mutual", [False, True])
def test_weights_are_those_of_the_formula(k: int, sigma: float | None, mutual: bool) -> None:
    data = some_nodes()
    found = graph_to_scipy(GaussianKNN(k=k, sigma=sigma, mutual=mutual)(data)).toarray()
    np.testing.assert_allclose(
        found, by_hand(data.x.numpy(), k, sigma, mutual), rtol=1e-12, atol=0
    )  # rounding


def test_self_tuned_weights_know_no_unit_and_no_origin() -> None:
    data = some_nodes()
    moved = Data(x=data.x * 1e-160 + 3e-160)
    left, right = GaussianKNN(k=4)(data), GaussianKNN(k=4)(moved)
    assert torch.equal(left.edge_index, right.edge_index)
    torch.testing.assert_close(left.edge_weight, right.edge_weight)


def test_fixed_width_has_the_unit_of_the_features() -> None:
    data = some_nodes()
    scaled = Data(x=data.x * 1e200)
    left, right = GaussianKNN(k=4, sigma=0.7)(data), GaussianKNN(k=4, sigma=0.7e200)(scaled)
    torch.testing.assert_close(left.edge_weight, right.edge_weight)


def test_duplicates_have_weight_one_and_the_smallest_width() -> None:
    data = Data(x=torch.tensor([[0.0], [0.0], [0.0], [1.0], [3.0]], dtype=torch.float64))
    with pytest.warns(NumericalWarning, match="3 of 5 nodes have 2 duplicates or more") as caught:
        graph = GaussianKNN(k=2)(data)
    assert len(caught) == 1
    matrix = graph_to_scipy(graph).toarray()
    assert matrix[0, 1] == matrix[1, 2] == 1.0
    # Node 3 has width 1 (to the zeros), which is the smallest; so exp(-1 / (1 x 1)).
    assert matrix[0, 3] == pytest.approx(np.exp(-1.0))


def test_only_duplicates_make_a_graph_of_ones() -> None:
    with pytest.warns(NumericalWarning, match="4 of 4 nodes"):
        graph = GaussianKNN(k=3)(Data(x=torch.ones(4, 2)))
    assert graph.edge_weight.tolist() == [1.0] * 12


def test_zero_row_is_a_point() -> None:
    assert (
        GaussianKNN(k=1)(Data(x=torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0]]))).has_isolated_nodes()
        is False
    )


def test_weights_that_underflow_are_counted_and_no_edges() -> None:
    with pytest.warns(NumericalWarning, match="gaussian_knn: 2 of 2 weights underflow to zero"):
        graph = GaussianKNN(k=1, sigma=1e-3)(Data(x=torch.tensor([[0.0], [1.0], [2.0]])))
    assert graph.num_edges == 0


@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_tight_clusters_far_from_the_origin_keep_their_neighbours(search: str) -> None:
    source = torch.Generator().manual_seed(1)
    centres = torch.randn(6, 3, dtype=torch.float64, generator=source).repeat_interleave(20, 0)
    x = centres + 1e-9 * torch.randn(120, 3, dtype=torch.float64, generator=source)
    found = graph_to_scipy(GaussianKNN(k=3, search=search)(Data(x=x))).toarray()
    # 1e-6: the features themselves hold seven digits of such differences.
    np.testing.assert_allclose(found, by_hand(x.numpy(), 3, None, False), rtol=1e-6, atol=0)


def test_shortest_links_join_clusters() -> None:
    x = torch.tensor([[0.0], [0.1], [1.0], [1.2], [9.0], [9.1]], dtype=torch.float64)
    apart = GaussianKNN(k=1, sigma=2.0)(Data(x=x))
    joined = check_graph(GaussianKNN(k=1, sigma=2.0, connect="mst")(Data(x=x)))
    assert connected_components(apart).max() == 2
    assert joined.connecting_edges.tolist() == [[1, 3], [2, 4]]
    matrix = graph_to_scipy(joined).toarray()
    assert matrix[1, 2] == pytest.approx(np.exp(-(0.9**2) / 4))
    assert "connecting_edges" not in GaussianKNN(k=1)(joined)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"k": 2.5}, TypeError, "k"),
        ({"sigma": 0.0}, ValueError, "sigma must be above 0"),
        ({"sigma": float("nan")}, ValueError, "sigma must be above 0"),
        ({"connect": "tree"}, ValueError, "connect must be one of 'none', 'mst', got 'tree'"),
        ({"search": "hnsw"}, ValueError, "search must be one of 'exact', 'faiss', got 'hnsw'"),
    ],
)
def test_options_are_checked_at_once(options: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        GaussianKNN(**options)


def test_components_out_of_reach_of_the_kernel_stay_apart_and_are_said_so() -> None:
    data = Data(x=torch.tensor([[0.0], [1.0], [1e6], [1e6 + 1]]))
    with pytest.warns(
        NumericalWarning, match="1 of 3 weights underflow .*; 1 of them were to join components"
    ):
        graph = GaussianKNN(k=1, connect="mst")(data)
    assert graph.edge_index.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    assert graph.connecting_edges.shape == (2, 0)  # what joins nothing is not listed
