"""Repair of edge lists."""

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import Compose

from paramgraph import check_graph, graph_to_scipy, symmetrize

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


def test_mean_of_large_weights_is_taken_and_a_sum_beyond_the_dtype_refused() -> None:
    there, back = torch.tensor([[0, 1], [1, 0]]), torch.tensor([3e38, 1e38])
    assert (
        symmetrize(Data(edge_index=there, edge_weight=back, num_nodes=2)).edge_weight.tolist()
        == [pytest.approx(2e38)] * 2
    )
    doubled = Data(edge_index=torch.tensor([[0, 0], [1, 1]]), edge_weight=torch.full((2,), 3e38), num_nodes=2)
    with pytest.raises(ValueError, match=r"add up to more than torch\.float32 has room for"):
        symmetrize(doubled)


@pytest.mark.usefixtures("unchecked_types")
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
