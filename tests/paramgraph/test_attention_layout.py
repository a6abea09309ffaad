import pytest
import torch
import transformers
from torch import nn

from paramgraph.attention_layout import attention_module
from paramgraph.attention_names import FUSED, is_attention
from paramgraph.head_scheme import heads
from paramgraph.linear_modules import weighted_layers

SMALL = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SHORT = {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}


def without_weights(kind, **config):
    kind = getattr(transformers, kind)
    with torch.device("meta"):
        return kind(kind.config_class(**config))


@pytest.mark.parametrize(
    ("kind", "config", "why"),
    [
        ("CodeGenForCausalLM", {**SHORT, "rotary_dim": 4}, r"known for the model types phi3, .* \['codegen'"),
        ("DeepseekV3ForCausalLM", {**SMALL, "n_routed_experts": 4, "n_group": 1, **LATENT}, "q_a_proj"),
        ("FunnelModel", {"vocab_size": 40, "d_model": 32, "block_sizes": [1], "n_head": 4}, "q_head"),
    ],
    ids=["unknown fused layout", "latent queries", "unknown names"],
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
