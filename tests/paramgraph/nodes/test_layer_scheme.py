import torch
from torch import nn

from paramgraph import layers


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
