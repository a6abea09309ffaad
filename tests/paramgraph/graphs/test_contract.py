"""The graph contract: what is accepted, what is refused and in which words."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import check_graph
from paramgraph.graphs import count_nodes, dense_graph, undirected_graph

ZOO = [
    *("path", "ring", "complete", "star", "two_components", "isolated_node"),
    *("no_edges", "one_node", "no_nodes", "weighted_random", "grid"),
]


def edge(**changes: object) -> Data:
    """Return one edge between two nodes, with fields replaced."""
    fields = {
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
        "edge_weight": torch.ones(2),
        "num_nodes": 2,
    }
    return Data(**{name: value for name, value in (fields | changes).items() if value is not None})


@pytest.mark.parametrize("name", ZOO)
def test_graph_that_keeps_the_contract_comes_back_itself(graphs: dict[str, Data], name: str) -> None:
    assert check_graph(graphs[name]) is graphs[name]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"edge_weight": None}, "edge_weight is missing"),
        ({"edge_index": None}, "edge_index is missing"),
        ({"num_nodes": None}, "num_nodes is not set"),
        ({"x": torch.ones(3, 1)}, "num_nodes is 2 but x has 3 rows"),
        ({"edge_index": torch.tensor([[0, 1], [1, 0]], dtype=torch.int32)}, "int64"),
        ({"edge_index": torch.tensor([[0, 1, 0], [1, 0, 1]])}, r"shape \(edges,\) = \(3,\)"),
        ({"edge_index": torch.tensor([[0, 2], [2, 0]])}, "names node 2"),
        ({"edge_index": torch.tensor([[-1, 0], [0, -1]])}, "names node -1"),
        ({"edge_index": torch.tensor([[1, 0], [0, 1]])}, "not coalesced"),
        ({"edge_index": torch.tensor([[0, 0], [1, 1]])}, "not coalesced"),
        ({"edge_index": torch.tensor([[0, 1], [0, 1]])}, "self-loop at node 0"),
        ({"edge_weight": torch.ones(2, dtype=torch.int64)}, "must be float"),
        ({"edge_weight": torch.ones(2, 1)}, "must be float of shape"),
        ({"edge_weight": torch.tensor([1.0, torch.nan])}, "1 values that are not finite"),
        ({"edge_weight": torch.tensor([1.0, 2.0])}, "not symmetric: 1.0 for edge"),
        ({"edge_weight": torch.tensor([-1.0, -1.0])}, "2 edge weights are negative"),
        ({"node_weight": torch.ones(3)}, "node_weight must be float of shape"),
        ({"node_weight": torch.tensor([1.0, torch.inf])}, "node_weight has 1 values"),
        (
            {"edge_index": torch.tensor([[0], [1]]), "edge_weight": torch.ones(1)},
            r"not undirected: edge \(0, 1\)",
        ),
    ],
)
def test_broken_graph_is_refused_by_what_is_broken(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_graph(edge(**changes))


@pytest.mark.parametrize("thing", [None, "graph", {"edge_index": 0}])
def test_what_is_no_data_is_a_type_error(thing: object) -> None:
    with pytest.raises(TypeError, match=r"expected a torch_geometric\.data\.Data"):
        check_graph(thing)


def test_negative_weights_pass_where_they_are_meant() -> None:
    negative = edge(edge_weight=torch.tensor([-1.0, -1.0]))
    assert check_graph(negative, signed=True) is negative
    declared = edge(edge_weight=torch.tensor([-1.0, -1.0]), signed=True)
    assert check_graph(declared) is declared


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_type_of_weights_is_welcome(dtype: torch.dtype) -> None:
    check_graph(edge(edge_weight=torch.ones(2, dtype=dtype)))


def test_nodes_are_counted_from_x_or_num_nodes_and_never_from_edges() -> None:
    assert count_nodes(Data(x=torch.ones(4, 2))) == 4
    assert count_nodes(Data(num_nodes=5)) == 5
    with pytest.raises(ValueError, match="num_nodes is not set"):
        count_nodes(Data(edge_index=torch.tensor([[0], [1]])))


def test_pairs_become_sorted_edges_in_both_directions() -> None:
    graph = undirected_graph(
        Data(num_nodes=4), torch.tensor([[3, 0, 1], [0, 1, 2]]), torch.tensor([1.0, 2.0, 3.0])
    )
    assert graph.edge_index.tolist() == [[0, 0, 1, 1, 2, 3], [1, 3, 0, 2, 1, 0]]
    assert graph.edge_weight.tolist() == [2.0, 1.0, 2.0, 3.0, 3.0, 1.0]
    check_graph(graph)


def test_new_edges_replace_all_traces_of_an_earlier_graph_and_nothing_else() -> None:
    before = edge(
        x=torch.ones(2, 3),
        node_weight=torch.ones(2),
        edge_attr=torch.ones(2, 1),
        signed=True,
        role=["query", "key"],
        layer=torch.tensor([0, 1]),
    )
    keys = set(before.keys())
    graph = undirected_graph(before, torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0))
    assert set(graph.keys()) == keys - {"node_weight", "edge_attr"}
    assert graph.signed is False
    assert graph.x is before.x
    assert graph.layer is before.layer
    assert graph.role == ["query", "key"]
    assert set(before.keys()) == keys
    assert before.num_edges == 2


@pytest.mark.parametrize(
    "matrix",
    [torch.ones(2, 2), torch.ones(1, 1).expand(4, 4), torch.eye(3) + 1.0],
    ids=["two", "expanded", "three"],
)
def test_edges_of_a_dense_matrix_have_memory_of_their_own(matrix: torch.Tensor) -> None:
    before = matrix.clone()
    graph = dense_graph(Data(num_nodes=len(matrix)), matrix)
    graph.edge_weight.mul_(torch.arange(2.0, 2.0 + graph.num_edges))
    graph.node_weight.zero_()
    assert torch.equal(matrix, before)


def test_dense_matrix_keeps_its_entries_as_edges_and_diagonal() -> None:
    matrix = torch.tensor([[1.0, 0.0, -2.0], [0.0, 3.0, 4.0], [-2.0, 4.0, 0.0]])
    graph = check_graph(dense_graph(Data(num_nodes=3), matrix))
    rebuilt = np.diag(graph.node_weight.numpy())
    rebuilt[tuple(graph.edge_index.numpy())] = graph.edge_weight.numpy()
    np.testing.assert_array_equal(rebuilt, matrix.numpy())
    assert graph.num_edges == 4
