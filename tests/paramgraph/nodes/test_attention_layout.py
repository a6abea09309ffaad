import pytest
import torch
import transformers
from torch import nn

from paramgraph import heads
from paramgraph.nodes import FUSED, attention_module, is_attention, weighted_layers

SMALL = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SHORT = {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4}
GATED = {**SMALL, "head_dim": 16, "layer_types": ["full_attention"] * 2, "num_experts": 4}


def without_weights(kind, **config):
    kind = getattr(transformers, kind)
    with torch.device("meta"):
        return kind(kind.config_class(**config))


@pytest.mark.parametrize(
    ("kind", "config", "why"),
    [
        ("CodeGenForCausalLM", {**SHORT, "rotary_dim": 4}, r"known for the model types phi3, .* \['codegen'"),
        ("Qwen3NextForCausalLM", GATED, "q_proj has 128 outputs, which is not 4 heads of 16"),
        ("JetMoeForCausalLM", {**SMALL, "kv_channels": 8, "num_local_experts": 4}, "experts.input_linear"),
    ],
    ids=["unknown fused layout", "queries beside gates", "queries of experts"],
)
def test_attention_of_an_unknown_form_is_named_and_not_guessed(kind, config, why):
    with pytest.raises(ValueError, match=f"cannot tell the heads of .*Attention.*{why}"):
        heads(without_weights(kind, **config))


def test_other_projections_named_like_fused_ones_are_no_attention():
    config = {**SMALL, "attn_layer_offset": 1, "attn_layer_period": 2, "num_key_value_heads": 2}
    model = without_weights("JambaForCausalLM", **config, use_mamba_kernels=False, num_experts=1)
    assert any(name.endswith("mamba.in_proj") for name, _ in model.named_modules())
    assert {key: table.layer for key, table in heads(model).items()} == {
        "query": (1,) * 4,
        "key_value": (1,) * 2,
    }


def test_attention_directly_in_a_list_has_one_role():
    table = heads(without_weights("XLMModel", vocab_size=40, emb_dim=32, n_layers=2, n_heads=4))["query"]
    assert (set(table.role), table.layer) == ({"attentions"}, (0,) * 4 + (1,) * 4)


def test_the_number_of_heads_is_the_modules_before_its_configs():
    class Config:
        num_attention_heads = 4

    module = nn.MultiheadAttention(8, 2)
    layers = {name: found.layer for name, found in weighted_layers(module, packed=True).items()}
    assert attention_module("", layers, layers, (module, Config())).heads == 2
    assert attention_module("", layers, layers, (nn.Module(), Config())).heads == 4


def test_a_module_without_known_layers_is_no_attention():
    module = nn.Sequential(nn.Linear(2, 2))
    layers = {name: found.layer for name, found in weighted_layers(module).items()}
    assert attention_module("", layers, layers, (module,)) is None
    assert not is_attention(module)


@pytest.mark.parametrize("wrong", ["blocked", "grouped"])
@pytest.mark.parametrize(("name", "fused"), [("GPT-NeoX", "query_key_value"), ("GPT-2", "c_attn")])
def test_the_table_of_layouts_decides(name, fused, wrong, random_model, monkeypatch):
    """The other layout gives other nodes, so the tests of what heads do would see a wrong entry."""
    model = random_model(name).model
    parameters = dict(model.named_parameters())
    right = heads(model)["query"].gather(parameters)
    layouts = dict.fromkeys([*FUSED[fused], model.config.model_type], wrong)
    monkeypatch.setitem(FUSED, fused, layouts)
    other = heads(model)["query"].gather(parameters)
    known = {"GPT-NeoX": "grouped", "GPT-2": "blocked"}[name]
    assert torch.equal(right, other) == (wrong == known)


class Attention(nn.Module):
    """Attention of nobody's library: layers under given names, and attributes."""

    def __init__(self, names, sizes, **attributes):
        super().__init__()
        for name, (features, outputs) in zip(names, sizes, strict=True):
            self.add_module(name, nn.Linear(features, outputs))
        for name, value in attributes.items():
            setattr(self, name, value)


SQUARE = [(8, 8)] * 4


@pytest.mark.parametrize("count", [{"num_heads": 2}, {"head_dim": 4}])
def test_your_own_attention_needs_names_and_a_number_of_heads(count):
    model = nn.Sequential(Attention(["q_proj", "k_proj", "v_proj", "out_proj"], SQUARE, **count))
    assert heads(model)["query"].shape == (2, 4 * 4 * 8)


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (Attention(["q", "k", "v", "o"], SQUARE), "how many heads"),
        (Attention(["q", "k", "v", "o"], SQUARE, num_heads=3), "8 features of 0.q are no multiple of 3"),
        (Attention(["q", "k", "v", "mix"], SQUARE, num_heads=2), "no output projection found"),
        (Attention(["q", "k", "v", "o"], SQUARE, num_heads=2, head_dim=2), "not 2 heads of 2"),
        (Attention(["q", "k", "v", "o"], [(8, 12), *[(8, 8)] * 3], num_heads=3), "share 2 key/value heads"),
        (Attention(["query_key_value", "dense"], [(8, 24), (8, 8)], num_heads=2), "fused='blocked'"),
        (Attention(["qkv", "proj"], [(8, 20), (8, 8)], num_heads=2), "no multiple of 6"),
        (Attention(["a", "b"], [(8, 8)] * 2, num_heads=2), "layer '0.a' has no known name"),
    ],
)
def test_heads_that_cannot_be_told_apart_are_named(module, why):
    with pytest.raises(ValueError, match=f"cannot tell the heads of Attention '0' apart: .*{why}"):
        heads(nn.Sequential(module))


@pytest.mark.parametrize(("fused", "second"), [("blocked", [1, 3, 5]), ("grouped", [3, 4, 5])])
def test_an_unknown_fused_layout_can_be_given(fused, second):
    module = Attention(["query_key_value", "dense"], [(8, 24), (8, 8)], num_heads=2)
    model = nn.Sequential(module)
    parameters = dict(model.named_parameters())
    X = heads(model, fused=fused)["query"].gather(parameters)
    W = parameters["0.query_key_value.weight"].reshape(6, 4, 8)
    assert torch.equal(X[1, : 3 * 32], W[second].flatten())


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_layout_name_is_refused(random_model):
    with pytest.raises(ValueError, match="'blocked', 'grouped' or None, got 'rows'"):
        heads(random_model("BERT").model, fused="rows")


def test_attention_of_unknown_names_can_be_left_out(random_model):
    strange = Attention(["a", "b"], [(8, 8)] * 2)
    model = nn.ModuleList([strange, Attention(["q", "k", "v", "o"], SQUARE, num_heads=2)])
    assert heads(model, exclude=["a", "b"])["query"].shape == (2, 128)


def test_a_model_without_attention_is_told_what_is_missing():
    with pytest.raises(ValueError, match=r"heads need attention: .*query, key, value.* it has 0"):
        heads(nn.Sequential(nn.Linear(2, 2)))
