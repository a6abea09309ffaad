"""Both sides of activations, for every scheme that has them."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from paramgraph import activations, node_tables


@pytest.fixture
def layer():
    return nn.Sequential(nn.Linear(3, 2))


@pytest.fixture
def llama():
    shape = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=4, num_key_value_heads=2)).eval()


def recorded(model, batch, names):
    """Inputs and outputs of modules, as (tokens, features)."""
    seen, handles = {}, []
    for name in names:

        def hook(_, args, output, name=name):
            seen[name] = (args[0].flatten(0, 1), output.flatten(0, 1))

        handles.append(model.get_submodule(name).register_forward_hook(hook))
    with torch.no_grad():
        model(**batch)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize(("scheme", "side"), [("rows", "output"), ("columns", "input"), ("layers", "output")])
def test_auto_is_the_side_that_is_stated(layer, scheme, side, generator):
    (table,) = node_tables(layer, scheme).values()
    batches = [torch.randn(4, 3, generator=generator)]
    assert torch.equal(activations(layer, table, batches), activations(layer, table, batches, side=side))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("scheme", "side", "text"),
    [
        ("rows", "input", "are output features .* no side='input'.*scheme 'columns'"),
        ("columns", "output", "are input features .* no side='output'.*scheme 'rows'"),
        ("rows", "both", "side must be 'auto', 'input' or 'output', got 'both'"),
    ],
)
def test_sides_that_a_scheme_does_not_have_are_refused(layer, scheme, side, text):
    with pytest.raises(ValueError, match=text):
        activations(layer, node_tables(layer, scheme)["0.weight"], [torch.ones(1, 3)], side=side)


def test_a_layer_as_a_node_has_all_its_inputs_or_outputs(generator):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    x = torch.randn(5, 3, generator=generator)
    table = node_tables(model, "layers")["*.weight"]
    first = model[0](x).detach()
    found = activations(model, table, [x])
    assert torch.equal(found, torch.stack([first.flatten(), model[1](first).detach().flatten()]))
    assert torch.equal(activations(model, table, [x], side="input")[1], first.flatten())


def test_query_heads_have_their_part_of_the_output_projections_input(llama, tiny_batches):
    batch = {"input_ids": tiny_batches[0]["input_ids"]}
    names = [f"model.layers.{i}.self_attn.o_proj" for i in range(2)]
    seen = recorded(llama, batch, names)
    expected = torch.cat(
        [seen[name][0].unflatten(1, (4, 8)).transpose(0, 1).flatten(1) for name in names]
    )  # (8 heads, tokens x 8)
    table = node_tables(llama, "heads")["query"]
    assert torch.equal(activations(llama, table, [batch]), expected)
    assert torch.equal(activations(llama, table, [batch], side="input"), expected)


def test_shared_heads_have_their_key_and_value_vectors(llama, tiny_batches):
    batch = {"input_ids": tiny_batches[0]["input_ids"]}
    names = [f"model.layers.{i}.self_attn.{kind}_proj" for kind in "kv" for i in range(2)]
    seen = recorded(llama, batch, names)
    of_heads = [seen[name][1].unflatten(1, (2, 8)).transpose(0, 1).flatten(1) for name in names]
    expected = torch.cat([torch.cat(of_heads[:2]), torch.cat(of_heads[2:])], dim=1)
    table = node_tables(llama, "heads")["key_value"]
    assert torch.equal(activations(llama, table, [batch]), expected)
    with pytest.raises(ValueError, match="no side='input'"):
        activations(llama, table, [batch], side="input")


def test_fused_and_transposed_projections_are_cut_head_by_head(tiny_batches):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=100, n_positions=32, n_embd=32, n_layer=1, n_head=4)
        model = GPT2LMHeadModel(config).eval()
    batch = {"input_ids": tiny_batches[0]["input_ids"]}
    names = ["transformer.h.0.attn.c_attn", "transformer.h.0.attn.c_proj"]
    (_, fused), (mixed, _) = recorded(model, batch, names).values()
    table = node_tables(model, "heads")["query"]
    own = activations(model, table, [batch], side="output")
    expected = (
        fused.unflatten(1, (3, 4, 8)).permute(2, 1, 0, 3).flatten(1)
    )  # query, key and value of each head
    assert torch.equal(own, expected)
    assert torch.equal(
        activations(model, table, [batch]), mixed.unflatten(1, (4, 8)).transpose(0, 1).flatten(1)
    )
