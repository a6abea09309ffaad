"""A parameter graph goes to networkx and back with everything that a graph is."""

import networkx as nx
import pytest
import torch

from paramgraph import (
    CosineKNN,
    Gram,
    ParameterGraph,
    check_graph,
    graph_from_networkx,
    graph_to_networkx,
    rows,
)


def nodes_of_a_model(zero_rows: int = 0) -> ParameterGraph:
    layer = torch.nn.Linear(5, 14)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(14, 5, generator=torch.Generator().manual_seed(0)))
        layer.weight[:zero_rows] = 0
    model = torch.nn.Sequential(layer)
    table = rows(model)["0.weight"]
    return table.to_data(table.gather(dict(model.named_parameters())).detach())


def dense_signed() -> ParameterGraph:
    return Gram()(nodes_of_a_model())


@pytest.mark.parametrize(
    "make", [dense_signed, lambda: CosineKNN(k=3)(nodes_of_a_model())], ids=["gram", "knn"]
)
def test_edges_weights_signs_and_diagonal_come_back(make):
    graph = make()
    back = graph_from_networkx(graph_to_networkx(graph), like=graph)
    assert torch.equal(back.edge_index, graph.edge_index)
    # networkx holds Python floats: float32 is kept to the last bit.
    assert torch.equal(back.edge_weight.float(), graph.edge_weight)
    assert back.signed == graph.signed
    if "node_weight" in graph:
        assert torch.equal(back.node_weight.float(), graph.node_weight.float())


def test_fields_of_the_nodes_come_back_with_like():
    graph = dense_signed()
    back = check_graph(graph_from_networkx(graph_to_networkx(graph), like=graph))
    assert torch.equal(back.layer, graph.layer)
    assert torch.equal(back.head, graph.head)
    assert back.role == graph.role
    assert torch.equal(back.x, graph.x)


def test_isolated_nodes_come_back():
    from paramgraph import NumericalWarning

    with pytest.warns(NumericalWarning, match="2"):
        graph = CosineKNN(k=3)(nodes_of_a_model(2))
    network = graph_to_networkx(graph)
    assert sorted(nx.isolates(network)) == [0, 1]
    assert graph_from_networkx(network).num_nodes == 14


def test_names_of_a_user_are_no_hindrance():
    network = nx.Graph()
    network.add_nodes_from(["a.weight[0]", "a.weight[1]", "lone"])
    network.add_edge("a.weight[0]", "a.weight[1]", weight=-0.5)
    graph = graph_from_networkx(network)
    assert graph.edge_index.tolist() == [[0, 1], [1, 0]]
    assert graph.num_nodes == 3
    assert graph.signed is True


def test_fields_of_the_nodes_are_attributes_and_come_back_without_like():
    graph = nodes_of_a_model()
    graph.layer = torch.arange(14) - 1
    graph.role = [f"role {node}" for node in range(14)]
    network = graph_to_networkx(graph := Gram()(graph))
    assert network.nodes[3]["layer"] == 2
    assert network.nodes[3]["head"] == -1
    assert network.nodes[3]["role"] == "role 3"
    back = graph_from_networkx(network)
    assert torch.equal(back.layer, graph.layer)
    assert torch.equal(back.head, graph.head)
    assert back.role == graph.role


def test_attributes_of_other_types_are_left_behind():
    network = nx.path_graph(3)
    nx.set_node_attributes(network, {0: 1, 1: 2}, "layer")
    nx.set_node_attributes(network, "q", "head")
    back = graph_from_networkx(network)
    assert "layer" not in back
    assert "head" not in back


def test_fields_of_like_come_before_those_of_networkx():
    graph = dense_signed()
    network = graph_to_networkx(graph)
    nx.set_node_attributes(network, 7, "layer")
    assert torch.equal(graph_from_networkx(network, like=graph).layer, graph.layer)
