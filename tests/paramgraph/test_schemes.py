import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from paramgraph.errors import UnknownNameError
from paramgraph.schemes import SCHEMES, columns, node_tables, rows


@pytest.mark.parametrize("layer", [nn.Linear(3, 5), Conv1D(5, 3)], ids=["Linear", "Conv1D"])
def test_rows_are_output_features_and_columns_input_features(layer, generator):
    model = nn.Sequential(layer)
    parameters = dict(model.named_parameters())
    x = torch.randn(1, 3, generator=generator)
    output = x @ rows(model)["0.weight"].gather(parameters).T + layer.bias
    torch.testing.assert_close(output, layer(x))
    assert columns(model)["0.weight"].shape == (3, 5)


def test_node_names_index_the_parameter_as_it_is_stored():
    assert rows(nn.Sequential(Conv1D(5, 3)))["0.weight"].names[4] == "0.weight[:, 4]"
    assert rows(nn.Sequential(nn.Linear(3, 5)))["0.weight"].names[4] == "0.weight[4]"


def test_layer_and_role_come_from_the_path(tiny_transformer):
    tables = rows(tiny_transformer)
    query = tables["bert.encoder.layer.1.attention.self.query.weight"]
    pooler = tables["bert.pooler.dense.weight"]
    assert (query.layer[0], query.role[0], query.head[0]) == (1, "attention.self.query", -1)
    assert (pooler.layer[0], pooler.role[0]) == (-1, "bert.pooler.dense")


def test_all_linear_takes_the_encoder_and_the_pooler_but_no_head(tiny_transformer):
    tables = rows(tiny_transformer)
    assert len(tables) == 2 * 6 + 1
    assert "bert.pooler.dense.weight" in tables
    assert "classifier.weight" not in tables


def test_scheme_by_name_is_the_function(tiny_transformer):
    assert node_tables(tiny_transformer, "columns") == columns(tiny_transformer)
    assert node_tables(tiny_transformer) == rows(tiny_transformer)


def test_a_scheme_is_added_as_one_function(monkeypatch, tiny_transformer):
    monkeypatch.setitem(SCHEMES, "mine", lambda model, targets, exclude: {})
    assert node_tables(tiny_transformer, "mine") == {}


def test_unknown_scheme_lists_the_known_ones(tiny_transformer):
    with pytest.raises(UnknownNameError, match=r"'row'; did you mean 'rows'\? \(available: blocks, columns, heads, layers, rows\)"):
        node_tables(tiny_transformer, "row")
