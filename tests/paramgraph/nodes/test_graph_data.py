"""`ParameterGraph` is a PyG `Data` in everything but its card."""

import copy
import pickle

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import AddSelfLoops, Compose, Constant, ToUndirected

from paramgraph import CosineKNN, ParameterGraph, graph_from_networkx, graph_to_networkx, rows, symmetrize


def graph() -> ParameterGraph:
    model = torch.nn.Sequential(torch.nn.Linear(4, 6))
    table = rows(model)["0.weight"]
    return CosineKNN(k=2)(table.to_data(table.gather(dict(model.named_parameters())).detach()))


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "clone": lambda data: data.clone(),
    "to": lambda data: data.to("cpu"),
    "pickle": lambda data: pickle.loads(pickle.dumps(data)),
    "transforms": Compose([ToUndirected(), AddSelfLoops(), Constant()]),
    "symmetrize": symmetrize,
    "subgraph": lambda data: data.subgraph(torch.tensor([0, 2, 3])),
    "from_dict": lambda data: ParameterGraph.from_dict(data.to_dict()),
    "collate": lambda data: next(iter(DataLoader([data, data], batch_size=2))).get_example(1),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_class_stays_on_the_way(way):
    before = graph()
    after = WAYS[way](before)
    assert type(after) is ParameterGraph
    assert "components" in after._repr_html_()


@pytest.mark.parametrize("way", ["copy", "deepcopy", "clone", "pickle", "collate"])
def test_all_fields_stay_on_the_way(way):
    before = graph()
    after = WAYS[way](before)
    assert set(after.keys()) == set(before.keys())
    assert all(torch.equal(after[key], value) for key, value in before if isinstance(value, torch.Tensor))
    assert after.role == before.role


def test_a_batch_of_graphs_is_a_batch_with_a_card():
    batch = Batch.from_data_list([graph(), graph()])
    assert isinstance(batch, Batch)
    assert batch.num_nodes == 12
    assert ">12<" in batch._repr_html_()


def test_saved_graph_is_loaded_again(tmp_path):
    torch.save(graph(), tmp_path / "graph.pt")
    assert type(torch.load(tmp_path / "graph.pt", weights_only=False)) is ParameterGraph


def test_plain_data_stays_plain():
    data = Data(x=torch.eye(3))
    assert type(CosineKNN(k=1)(data)) is Data
    assert not hasattr(data, "_repr_html_")


def test_graphs_from_networkx_have_a_card():
    assert type(graph_from_networkx(graph_to_networkx(graph()))) is ParameterGraph
