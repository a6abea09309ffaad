import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from paramgraph import blocks, columns, layers, rows


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


def test_each_block_is_what_its_name_says(generator):
    model = nn.Sequential(nn.Linear(4, 6))
    table = blocks(model, size=2)["0.weight"]
    weight = torch.randn(6, 4, generator=generator)
    X = table.gather({"0.weight": weight})
    for node, name in enumerate(table.names):
        assert torch.equal(X[node], eval(name.removeprefix("0."), {"weight": weight}).flatten())


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((384, 384), 64),
        ((384, 1536), 64),
        ((192, 576), 48),
        ((32, 32), 8),
        ((9, 5), 1),
        ((1, 1), 1),
        ((7, 700), 1),
    ],
)
def test_default_blocks_tile_and_leave_sixteen_where_they_can(shape, size):
    table = blocks(nn.Sequential(nn.Linear(*reversed(shape), device="meta")))["0.weight"]
    assert table.shape == (shape[0] * shape[1] // size**2, size**2)


def test_each_matrix_has_its_own_default():
    model = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 9))
    assert {name: table.shape for name, table in blocks(model).items()} == {
        "0.weight": (32, 64),
        "1.weight": (576, 1),
    }


def test_one_size_is_for_all_matrices():
    tables = blocks(nn.Sequential(nn.Linear(8, 4), Conv1D(4, 8)), size=4)
    assert [table.shape for table in tables.values()] == [(2, 16), (2, 16)]


def test_blocks_that_do_not_tile_are_named_with_a_size_that_does():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 6))
    with pytest.raises(
        ValueError, match=r"4 x 4 do not tile 1 of 2 .*1.weight \(6, 4\); take a divisor of 2"
    ):
        blocks(model, size=4)
    assert len(blocks(model, exclude=["1"], size=4)) == 1


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("size", "error"),
    [(0, ValueError), (-2, ValueError), (2.0, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_a_size_that_is_no_count_is_refused(size, error):
    with pytest.raises(error, match="size must be"):
        blocks(nn.Sequential(nn.Linear(4, 4)), size=size)


def test_each_node_is_a_whole_matrix(random_model):
    model = random_model("BERT").model
    table = layers(model)["bert.encoder.layer.*.output.dense.weight"]
    X = table.gather(dict(model.named_parameters()))
    assert torch.equal(X[1], model.bert.encoder.layer[1].output.dense.weight.flatten())
    assert (table.layer, table.head, set(table.role)) == ((0, 1), (-1, -1), {"output.dense"})
    assert table.names[1] == "bert.encoder.layer.1.output.dense.weight"


def test_there_is_a_table_per_role(random_model):
    keys = list(layers(random_model("BERT").model))
    assert len(keys) == 7
    assert "bert.encoder.layer.*.attention.self.query.weight" in keys
    assert "bert.pooler.dense.weight" in keys


def test_only_the_index_of_the_layer_is_replaced(random_model):
    tables = layers(random_model("T5").model)
    query = tables["decoder.block.*.layer.1.EncDecAttention.q.weight"]
    assert query.layer == (0, 1, 2)
    assert set(query.role) == {"decoder.layer.1.EncDecAttention.q"}
    assert tables["encoder.block.*.layer.0.SelfAttention.q.weight"].layer == (0, 1)


def test_matrices_of_different_shape_have_a_table_per_shape():
    tables = layers(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 8)))
    assert {key: (table.shape, table.layer) for key, table in tables.items()} == {
        "*.weight[8x4]": ((2, 32), (0, 2)),
        "*.weight[4x8]": ((1, 32), (1,)),
    }


def test_a_shared_matrix_is_one_node():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    assert layers(nn.Sequential(first, second))["*.weight"].names == ("0.weight",)


def test_published_models_have_one_table_per_role(published):
    smollm2 = layers(published("SmolLM2-135M"))
    assert len(smollm2) == 7
    assert {table.shape[0] for table in smollm2.values()} == {30}
    assert smollm2["model.layers.*.self_attn.k_proj.weight"].shape == (30, 192 * 576)
