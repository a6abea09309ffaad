"""Heads are checked by what they do: a wrong layout of a fused matrix moves another head's output."""

import re
from typing import NamedTuple

import pytest
import torch
from conftest import LAYOUTS
from torch import Tensor, nn
from torch.func import functional_call

from paramgraph import heads

from helpers.tiny_architectures import ARCHITECTURES, make


class Place(NamedTuple):
    """One head of one attention module, the layer that mixes its output, and its part of that layer's input."""

    output: nn.Module
    heads: int
    head: int

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, -1)


@pytest.fixture
def model(architecture):
    return architecture.model


@pytest.fixture
def tables(model):
    return heads(model)


def final(outputs):
    return outputs.last_hidden_state if "last_hidden_state" in outputs else outputs[0]


def parts_of(table, node):
    """Slices of a node in the order of its columns."""
    return sorted(
        (part for part in table.slices if part.at[0] <= node < part.at[0] + part.nodes),
        key=lambda part: part.at[1],
    )


def changed(model, table, node, kinds, change):
    """Parameters in which `change` acts on some of a node's parts: "q", "k", "v" and "o" by their position."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    letters = {"query": "qkvo" if len(parts_of(table, node)) == 4 else "qo", "key_value": "kv"}
    X = torch.zeros(table.shape)
    for letter, part in zip(letters[table.group.split("[")[0]], parts_of(table, node), strict=True):
        if letter in kinds:
            columns = slice(part.at[1], part.at[1] + part.width)
            X[node, columns] = change(table.gather(parameters)[node, columns])
    return {name: parameters[name] + value for name, value in table.scatter(X).items()}


def noise(value):
    return 2.0 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3))


def place_of(model, tables, group, node):
    """Find the output projection of a node's attention module by the parameter of its query table."""
    queries = [table for key, table in tables.items() if key.startswith("query")]
    name = tables[group].names[node].replace("key_value_head", "head").rpartition(".head.")[0]
    for table in queries:
        own = [i for i, other in enumerate(table.names) if other.rpartition(".head.")[0] == name]
        if own:
            weight = dict(model.named_parameters())[parts_of(table, own[0])[-1].parameter]
            output = next(m for m in model.modules() if getattr(m, "weight", None) is weight)
            return Place(output, len(own), tables[group].head[node])
    raise AssertionError(f"no query heads beside {name}")


def run(model, inputs, parameters, place, mask=False):
    """Run a model; return its output and what goes into an output projection, of which a head may be masked."""
    seen = []

    def read(module, arguments):
        x = place.split(arguments[0]).clone()
        if mask:
            x[..., place.head, :] = 0.0
        seen.append(x)
        return (x.reshape(arguments[0].shape), *arguments[1:])

    handle = place.output.register_forward_pre_hook(read)
    try:
        with torch.no_grad():
            outputs = functional_call(model, parameters, kwargs=inputs)
    finally:
        handle.remove()
    return final(outputs), seen[0]


def nodes_of(tables, kind):
    return [
        (group, node)
        for group, table in tables.items()
        if group.split("[")[0] == kind
        for node in range(table.shape[0])
    ]


def unchanged_input(architecture, place):
    """What goes into an output projection as the model is; once per projection."""
    if place.output not in seen_inputs:
        seen_inputs[place.output] = run(*architecture, {}, place)[1]
    return seen_inputs[place.output]


seen_inputs = {}


def test_query_rows_move_their_own_head_and_no_other(architecture, tables):
    model, inputs = architecture
    for group, node in nodes_of(tables, "query"):
        place = place_of(model, tables, group, node)
        before = unchanged_input(architecture, place)
        _, after = run(model, inputs, changed(model, tables[group], node, "q", noise), place)
        # Unmoved heads come from the same numbers in another order of blocks at most.
        moved = (before - after).abs().amax(dim=-1).flatten(0, -2).amax(dim=0) > 1e-6
        assert moved.nonzero().flatten().tolist() == [place.head], tables[group].names[node]


@pytest.mark.parametrize("kind", ["k", "v"])
def test_key_and_value_rows_move_the_heads_that_use_them_and_no_other(architecture, tables, kind):
    model, inputs = architecture
    own_table = "key_value" if any(group.startswith("key_value") for group in tables) else "query"
    for group, node in nodes_of(tables, own_table):
        place = place_of(model, tables, group, node)
        start = tables[group].names[node].rpartition(".")[0]
        pairs = sum(name.rpartition(".")[0] == start for name in tables[group].names)
        users = place.heads // pairs
        before = unchanged_input(architecture, place)
        _, after = run(model, inputs, changed(model, tables[group], node, kind, noise), place)
        moved = (before - after).abs().amax(dim=-1).flatten(0, -2).amax(dim=0) > 1e-6
        first = place.head * users
        assert moved.nonzero().flatten().tolist() == list(range(first, first + users))


def test_zeroing_a_head_is_masking_its_contribution(architecture, tables):
    model, inputs = architecture
    with torch.no_grad():
        plain = final(model(**inputs))
    for group, node in nodes_of(tables, "query"):
        place = place_of(model, tables, group, node)
        masked, _ = run(model, inputs, {}, place, mask=True)
        zeroed, _ = run(model, inputs, changed(model, tables[group], node, "qkvo", torch.neg), place)
        # float32 sums of 32 terms, through at most three layers.
        torch.testing.assert_close(zeroed, masked, rtol=1e-4, atol=1e-5)
        assert (masked - plain).abs().max() > 1e-5


WITHOUT_HEADS = {
    **dict.fromkeys(("XLNet", "FNet", "Mamba", "Mamba 2", "ConvNeXt"), "heads need attention"),
    "CodeGen": "how transformer.h.0.attn.qkv_proj fuses queries, keys and values is known for",
    "JetMoE": "its layer 'model.layers.0.self_attention.experts.input_linear",
}
# Its linear attention is left out by name.
PARTLY = "MiniMax"


# Queries are normalized over all heads, or change too little at random weights; values are not.
BY_VALUES = ("OLMo 2", "OLMoE", "MobileBERT")


@pytest.mark.parametrize("name", sorted({*ARCHITECTURES} - {*LAYOUTS, *WITHOUT_HEADS, PARTLY}))
def test_a_head_of_every_architecture_is_where_its_table_says(name, random_model):
    model, inputs = random_model(name)
    tables = heads(model)
    kind = "key_value" if name in BY_VALUES and "key_value" in tables else "query"
    group, node = nodes_of(tables, kind)[1]  # the second, so that what is before it counts
    place = place_of(model, tables, group, node)
    _, before = run(model, inputs, {}, place)
    change = changed(model, tables[group], node, "v" if name in BY_VALUES else "q", noise)
    _, after = run(model, inputs, change, place)
    moved = (before - after).abs().amax(dim=-1).flatten(0, -2).amax(dim=0) > 1e-6
    assert moved.nonzero().flatten().tolist() == ([2, 3] if kind == "key_value" else [1])


@pytest.mark.parametrize("name", sorted(WITHOUT_HEADS))
def test_a_model_without_known_heads_says_why(name, random_model):
    with pytest.raises(ValueError, match=re.escape(WITHOUT_HEADS[name])):
        heads(random_model(name).model)


def test_attention_that_cannot_be_read_is_left_out_by_name():
    told = "left out of all tables of heads: .*MiniMaxLightningAttention 'model.layers.1.self_attn'"
    with pytest.warns(UserWarning, match=told):
        tables = heads(make(PARTLY))
    assert {table.layer for table in tables.values()} == {(0,) * 4, (0,) * 2}


def test_a_node_is_its_rows_and_columns_entry_by_entry(random_model):
    model = random_model("BERT").model
    attention = model.bert.encoder.layer[1].attention
    rows = slice(3 * 8, 4 * 8)
    expected = [getattr(attention.self, name).weight[rows] for name in ("query", "key", "value")]
    X = heads(model)["query"].gather(dict(model.named_parameters()))
    assert torch.equal(
        X[7],
        torch.cat([*(W.flatten() for W in expected), attention.output.dense.weight[:, rows].T.flatten()]),
    )


def test_nodes_say_layer_head_and_role(random_model):
    table = heads(random_model("BERT").model)["query"]
    assert table.layer == (0,) * 4 + (1,) * 4
    assert table.head == (0, 1, 2, 3) * 2
    assert set(table.role) == {"attention.self"}
    assert table.names[5] == "bert.encoder.layer.1.attention.self.head.1"


def test_grouped_queries_have_two_tables(random_model):
    tables = heads(random_model("Llama").model)
    assert {key: table.shape for key, table in tables.items()} == {"query": (8, 512), "key_value": (4, 512)}
    assert tables["key_value"].head == (0, 1) * 2


def test_stacks_and_cross_attention_are_told_apart(random_model):
    table = heads(random_model("T5").model)["query"]
    places = set(zip(table.role, table.layer, strict=True))
    assert places == {
        *(("encoder.layer.0.SelfAttention", layer) for layer in range(2)),
        *(("decoder.layer.0.SelfAttention", layer) for layer in range(3)),
        *(("decoder.layer.1.EncDecAttention", layer) for layer in range(3)),
    }
    assert len(set(zip(table.role, table.layer, table.head, strict=True))) == table.shape[0] == 32


def test_heads_of_different_shape_have_a_table_per_shape(random_model):
    assert {key: table.shape for key, table in heads(random_model("BART").model).items()} == {
        "query[query 256+key 256+value 256+output 256]": (8, 1024),
        "query[query 512+key 512+value 512+output 512]": (8, 2048),
    }


def test_shared_layers_have_their_heads_once(random_model):
    assert heads(random_model("ALBERT (shared layers)").model)["query"].shape == (4, 1024)


def test_published_models_have_their_heads(published):
    minilm, smollm2 = heads(published("all-MiniLM-L6-v2")), heads(published("SmolLM2-135M"))
    assert {key: table.shape for key, table in minilm.items()} == {"query": (72, 4 * 32 * 384)}
    assert {key: table.shape for key, table in smollm2.items()} == {
        "query": (270, 2 * 64 * 576),
        "key_value": (90, 2 * 64 * 576),
    }


def test_a_node_has_only_the_projections_that_are_targeted(random_model):
    model = random_model("BERT").model
    table = heads(model, targets=["query", "value"], exclude=r".*\.0\..*")["query"]
    assert table.shape == (4, 2 * 8 * 32)
    assert table.parameters == tuple(
        f"bert.encoder.layer.1.attention.self.{name}.weight" for name in ("query", "value")
    )
    assert heads(model, targets=["attention.output.dense"])["query"].shape == (8, 8 * 32)


def test_grouped_queries_without_targeted_keys_and_values_have_one_table(random_model):
    assert list(heads(random_model("Llama").model, targets=["q_proj"])) == ["query"]


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 10}], ids=["packed", "separate"])
def test_torch_attention_is_read_like_any_other(options):
    module = nn.MultiheadAttention(8, 2, bias=False, batch_first=True, **options)
    source = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(1, 3, n, generator=source) for n in (8, options.get("kdim", 8), options.get("vdim", 8))
    ]
    table = heads(module)["query"]
    parameters = {name: p.detach().clone() for name, p in module.named_parameters()}
    parts = parts_of(table, 1)
    # Without head 0, the layer is its second head alone, computed here by hand.
    q, k, v, o = (
        table.gather(parameters)[1, part.at[1] : part.at[1] + part.width].reshape(4, -1) for part in parts
    )
    zeroed = torch.zeros(table.shape)
    zeroed[0] = -table.gather(parameters)[0]
    with torch.no_grad():
        for name, value in table.scatter(zeroed).items():
            module.get_parameter(name).add_(value)
        alone, _ = module(*inputs)
    weights = torch.softmax((inputs[0] @ q.T) @ (inputs[1] @ k.T).mT / 2, dim=-1)
    torch.testing.assert_close(alone, weights @ (inputs[2] @ v.T) @ o)


def test_torch_attention_matches_targets_as_a_module():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2, enable_nested_tensor=False)
    assert heads(model, targets=["self_attn"])["query"].shape == (4, 3 * 4 * 8)
    assert heads(model)["query"].role == ("self_attn",) * 4
