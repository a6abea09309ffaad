"""Places of nodes in the depth of a model."""

import pytest
import torch
from torch_geometric.data import Data

from paramgraph.graphs import layer_places, pairs_apart


def test_ranks_count_the_layers_that_are_there_in_each_stack() -> None:
    role = ["encoder.a", "encoder.a", "decoder.a", "decoder.a", "model.decoder.b"]
    data = Data(num_nodes=5, layer=torch.tensor([0, 7, 3, 1, 3]), role=role)
    assert layer_places(data, "test", "'heads'").tolist() == [[1, 0], [1, 1], [2, 1], [2, 0], [2, 1]]


@pytest.mark.parametrize("role", [None, ["attention.self"] * 3])
def test_models_of_one_stack_have_one(role: list[str] | None) -> None:
    data = Data(num_nodes=3, layer=torch.tensor([2, 0, 2]))
    if role:
        data.role = role
    assert layer_places(data, "test", "'heads'").tolist() == [[0, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize("gap", [0, 1, 2, 5])
def test_pairs_are_those_of_comparing_all_nodes(gap: int) -> None:
    places = torch.tensor([[0, 0], [0, 1], [1, 0], [0, 1], [1, 1], [0, 2], [0, 0]])
    expected = {
        (i, j)
        for i in range(7)
        for j in range(i + 1, 7)
        if places[i, 0] == places[j, 0] and abs(places[i, 1] - places[j, 1]) == gap
    }
    found = [tuple(sorted(pair)) for pair in pairs_apart(places, gap).T.tolist()]
    assert set(found) == expected
    assert len(found) == len(expected)


def test_towers_of_text_and_images_are_stacks_of_their_own() -> None:
    roles = ["text_model.self_attn"] * 2 + ["vision_model.self_attn"] * 2
    data = Data(num_nodes=4, layer=torch.tensor([0, 1, 0, 1]), role=roles)
    places = layer_places(data, "layer_adjacency", "'heads'")
    assert pairs_apart(places, gap=1).tolist() == [[0, 2], [1, 3]]
