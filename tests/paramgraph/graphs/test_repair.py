"""Repair and components."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import Compose
from torch_geometric.utils import from_networkx

from paramgraph import check_graph, connected_components, graph_from_scipy, graph_to_scipy, symmetrize

ZOO = [
    *("path", "ring", "complete", "star", "two_components", "isolated_node"),
    *("no_edges", "one_node", "no_nodes", "weighted_random", "grid"),
]


def same_graph(left: Data, right: Data) -> bool:
    return (
        left.num_nodes == right.num_nodes
        and torch.equal(left.edge_index, right.edge_index)
        and torch.equal(left.edge_weight.double(), right.edge_weight.double())
    )


@pytest.mark.parametrize("name", ZOO)
def test_symmetrize_changes_nothing_that_is_right_already(graphs: dict[str, Data], name: str) -> None:
    assert same_graph(symmetrize(graphs[name]), graphs[name])


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("two_components", [0, 1, 0, 1, 0, 1]),
        ("isolated_node", [0, 0, 1, 0]),
        ("no_edges", [0, 1, 2]),
        ("one_node", [0]),
        ("no_nodes", []),
        ("star", [0] * 7),
    ],
)
def test_components_are_numbered_by_their_first_node(
    graphs: dict[str, Data], name: str, labels: list[int]
) -> None:
    found = connected_components(graphs[name])
    assert found.tolist() == labels
    assert found.dtype == torch.int64


def test_edge_of_weight_zero_connects_nothing(graphs: dict[str, Data]) -> None:
    graph = graphs["path"]
    graph.edge_weight = torch.zeros_like(graph.edge_weight)
    assert connected_components(graph).tolist() == [0, 1, 2, 3, 4]
    assert graph_to_scipy(graph).nnz == 0


def test_negative_edge_connects() -> None:
    assert connected_components(graph_from_scipy(np.array([[0.0, -1.0], [-1.0, 0.0]]))).tolist() == [0, 0]


def test_relabelling_the_nodes_relabels_the_components(graphs: dict[str, Data]) -> None:
    matrix = graph_to_scipy(graphs["two_components"]).toarray()
    order = np.array([3, 0, 5, 1, 4, 2])
    moved = connected_components(graph_from_scipy(matrix[np.ix_(order, order)])).numpy()
    original = connected_components(graphs["two_components"]).numpy()[order]
    np.testing.assert_array_equal(moved[:, None] == moved, original[:, None] == original)


def test_missing_weights_count_one_on_the_way_out() -> None:
    bare = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
    assert graph_to_scipy(bare).toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert "edge_weight" not in bare


def test_edges_are_read_in_any_order(graphs: dict[str, Data]) -> None:
    graph = graphs["weighted_random"]
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(0))
    mixed = Data(edge_index=graph.edge_index[:, order], edge_weight=graph.edge_weight[order], num_nodes=20)
    before = mixed.edge_index.clone()
    np.testing.assert_array_equal(graph_to_scipy(mixed).toarray(), graph_to_scipy(graph).toarray())
    assert torch.equal(mixed.edge_index, before)


def test_ring_as_pyg_reads_it_from_networkx_is_a_graph() -> None:
    ring = nx.cycle_graph(5)  # of the last node, PyG stores the edge to the fourth before that to the first
    np.testing.assert_array_equal(graph_to_scipy(from_networkx(ring)).toarray(), nx.to_numpy_array(ring))


def test_edge_that_is_stored_twice_is_refused() -> None:
    twice = Data(
        edge_index=torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]]), edge_weight=torch.ones(4), num_nodes=2
    )
    with pytest.raises(ValueError, match="duplicates"):
        graph_to_scipy(twice)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_convert(dtype: torch.dtype) -> None:
    graph = Data(
        edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.full((2,), 0.5, dtype=dtype), num_nodes=2
    )
    assert graph_to_scipy(graph).toarray().tolist() == [[0.0, 0.5], [0.5, 0.0]]
    assert symmetrize(graph).edge_weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("rule", "edges"), [("union", [[0, 0, 1, 2], [1, 2, 0, 0]]), ("mutual", [[0, 1], [1, 0]])]
)
def test_one_way_pair_stays_under_union_and_goes_under_mutual(rule: str, edges: list[list[int]]) -> None:
    data = Data(
        edge_index=torch.tensor([[1, 0, 2, 2], [0, 1, 0, 2]]),
        edge_weight=torch.tensor([1.0, 3.0, 5.0, 9.0]),
        num_nodes=3,
    )
    graph = check_graph(symmetrize(data, rule))
    assert graph.edge_index.tolist() == edges
    assert graph.edge_weight[0] == 2.0  # the mean of both directions
    assert data.edge_index.shape == (2, 4)


def test_duplicates_are_summed() -> None:
    graph = symmetrize(Data(edge_index=torch.tensor([[0, 0], [1, 1]]), num_nodes=2))
    assert graph.edge_weight.tolist() == [2.0, 2.0]


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="'union' or 'mutual', got 'both'"):
        symmetrize(Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=2), "both")


def test_symmetrize_makes_a_builder_of_a_transform_without_weights() -> None:
    def chain(data: Data) -> Data:
        data.edge_index = torch.tensor([[0, 1], [1, 2]])
        return data

    check_graph(Compose([chain, symmetrize])(Data(num_nodes=3)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16])
def test_symmetrize_reads_weights_of_any_real_type(dtype: torch.dtype) -> None:
    data = Data(edge_index=torch.tensor([[1], [0]]), edge_weight=torch.ones(1, dtype=dtype), num_nodes=2)
    graph = check_graph(symmetrize(data))
    assert graph.edge_weight.dtype == torch.float32
    assert graph.edge_weight.tolist() == [1.0, 1.0]
    assert data.edge_weight.dtype == dtype
