import pytest
import torch
from torch import nn

from paramgraph import layers
from paramgraph.nodes import depth_of, linear_layers, role_of, storage_key, weighted_layers


@pytest.mark.parametrize(
    ("module", "stack", "depth", "role"),
    [
        ("bert.encoder.layer.11.output.dense", "", 11, "output.dense"),
        ("decoder.block.2.layer.1.EncDecAttention.q", "decoder", 2, "decoder.layer.1.EncDecAttention.q"),
        ("bert.pooler.dense", "", -1, "bert.pooler.dense"),
        ("mlp.3", "", 3, "mlp.3"),
        ("", "", -1, ""),
    ],
)
def test_depth_and_role_come_from_the_path(module, stack, depth, role):
    assert (depth_of(module), role_of(module, stack)) == (depth, role)


@pytest.mark.parametrize(
    ("paths", "stacks"),
    [
        (["encoder.block", "decoder.block"], {"encoder", "decoder"}),
        (["text.encoder.layers", "vision.encoder.layers"], {"text", "vision"}),
        (["transformer.h"], {""}),
        (["h", "extra.h"], {"", "extra"}),
    ],
)
def test_stacks_are_labelled_by_what_tells_them_apart(paths, stacks):
    model = nn.Module()
    for path in paths:
        *above, last = path.split(".")
        owner = model
        for name in above:
            if name not in owner._modules:
                owner.add_module(name, nn.Module())
            owner = owner._modules[name]
        owner.add_module(last, nn.ModuleList([nn.ModuleDict({"dense": nn.Linear(2, 2)}) for _ in range(2)]))
    assert {layer.stack for layer in linear_layers(model)} == stacks


def test_a_head_of_numbered_layers_makes_no_stack():
    model = nn.Module()
    model.layers = nn.ModuleList([nn.ModuleDict({"dense": nn.Linear(2, 2)})])
    model.mlp = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert [layer.role for layer in linear_layers(model)] == ["dense", "mlp.0", "mlp.1"]


def blocks(count, inner="dense"):
    made = nn.Module()
    made.layer = nn.ModuleList([nn.ModuleDict({inner: nn.Linear(2, 2)}) for _ in range(count)])
    return made


@pytest.mark.parametrize(
    ("model", "places"),
    [
        (nn.Sequential(blocks(2)), [(0, "dense"), (1, "dense")]),
        (nn.Sequential(blocks(2), nn.Linear(2, 2)), [(0, "dense"), (1, "dense"), (1, "1")]),
        (
            nn.ModuleList([blocks(2), blocks(1, "head")]),
            [(0, "0.layer.dense"), (1, "0.layer.dense"), (1, "layer.0.head")],
        ),
        # Two alike are layers themselves, and a list of one layer is no chain of parts.
        (nn.Sequential(blocks(2), blocks(2)), [(i, f"layer.{j}.dense") for i in (0, 1) for j in (0, 1)]),
        (nn.ModuleList([blocks(2)]), [(0, "layer.0.dense"), (0, "layer.1.dense")]),
    ],
    ids=["an encoder", "and its head", "in a list", "two encoders", "one layer with experts"],
)
def test_depth_is_counted_where_parts_are_alike(model, places):
    assert [(layer.layer, layer.role) for layer in linear_layers(model)] == places


def test_a_chain_of_an_encoder_and_a_head_has_the_tables_of_depth_of_the_encoder():
    tables = layers(nn.Sequential(blocks(2), nn.Linear(2, 2)))
    assert {group: table.layer for group, table in tables.items()} == {
        "0.layer.*.dense.weight": (0, 1),
        "*.weight": (1,),
    }


def test_stacks_do_not_depend_on_the_targets(random_model):
    (layer,) = linear_layers(random_model("T5").model, r"encoder\.block\.1\.layer\.0\..*q")
    assert layer.role == "encoder.layer.0.SelfAttention.q"


def test_parts_of_one_storage_are_not_tied():
    whole = torch.zeros(4, 2)
    first, second = nn.Parameter(whole[:2]), nn.Parameter(whole[2:])
    assert storage_key(first) != storage_key(second)
    assert storage_key(first) == storage_key(nn.Parameter(whole[:2]))


def test_packed_weights_of_attention_count_only_where_asked():
    model = nn.TransformerEncoderLayer(4, 2)
    assert "self_attn.in_proj_weight" not in weighted_layers(model)
    assert weighted_layers(model, packed=True)["self_attn.in_proj_weight"].layer.shape == (12, 4)
