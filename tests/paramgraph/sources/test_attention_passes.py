"""Attention maps as features of heads, against the model's own attentions."""

import pytest
import torch
from torch import nn
from transformers import BertModel, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from paramgraph import attention_maps, build, collect, node_tables, rows
from paramgraph.sources import eager_attention


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


@pytest.fixture
def llama():
    shape = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    return seeded(
        lambda: LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=4, num_key_value_heads=2))
    )


@pytest.fixture
def t5():
    shape = {"vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 4}
    return seeded(lambda: T5ForConditionalGeneration(T5Config(**shape, decoder_start_token_id=0)))


def own(model, batch, field="attentions"):
    """The maps that the model returns itself: (layers x heads, texts, queries, keys)."""
    with torch.no_grad(), eager_attention(model):
        maps = model(**batch, output_attentions=True)[field]
    return torch.cat([layer.transpose(0, 1) for layer in maps])


def of_real_pairs(maps, queries, keys):
    return maps[:, (queries[:, :, None] * keys[:, None, :]) == 1]


def test_maps_are_the_models_own_without_padding(tiny_transformer, tiny_batches):
    table = node_tables(tiny_transformer, "heads")["query"]
    expected = torch.cat(
        [
            of_real_pairs(own(tiny_transformer, b), b["attention_mask"], b["attention_mask"])
            for b in tiny_batches
        ],
        dim=1,
    )
    found = attention_maps(tiny_transformer, table, tiny_batches)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    # Probabilities over the keys of each real query: one per real token.
    tokens = sum(int(batch["attention_mask"].sum()) for batch in tiny_batches)
    torch.testing.assert_close(found.sum(1), torch.full((8,), float(tokens)), rtol=1e-5, atol=0)


def test_compressed_maps_have_the_same_gram(tiny_transformer, tiny_batches):
    tables = node_tables(tiny_transformer, "heads")
    raw = attention_maps(tiny_transformer, tables["query"], tiny_batches)
    small = collect(tiny_transformer, tables, "attention_maps", tiny_batches)["query"]
    assert small.shape == (8, 9)
    torch.testing.assert_close(small @ small.T, raw @ raw.T, rtol=1e-4, atol=1e-4)  # float32 sums


def test_a_key_value_head_has_the_mean_map_of_its_query_heads(llama, tiny_batches):
    tables, batch = node_tables(llama, "heads"), tiny_batches[0]
    batch = {key: batch[key] for key in ("input_ids", "attention_mask")}
    maps = of_real_pairs(own(llama, batch), batch["attention_mask"], batch["attention_mask"])
    assert torch.equal(attention_maps(llama, tables["query"], [batch]), maps)
    shared = attention_maps(llama, tables["key_value"], [batch])
    torch.testing.assert_close(shared, maps.reshape(4, 2, -1).mean(1))


def test_an_encoder_decoder_has_columns_for_each_kind_of_attention(t5, tiny_batches):
    mask = tiny_batches[0]["attention_mask"]
    labels = tiny_batches[1]["input_ids"][:, :5].clone()
    labels[0, 3:] = -100
    batch = {"input_ids": tiny_batches[0]["input_ids"], "attention_mask": mask, "labels": labels}
    real = (labels != -100).long()
    kinds = {
        "encoder": of_real_pairs(own(t5, batch, "encoder_attentions"), mask, mask),
        "decoder": of_real_pairs(own(t5, batch, "decoder_attentions"), real, real),
        "cross": of_real_pairs(own(t5, batch, "cross_attentions"), real, mask),
    }
    table = node_tables(t5, "heads")["query"]
    found = attention_maps(t5, table, [batch])
    assert found.shape == (24, sum(maps.shape[1] for maps in kinds.values()))
    nodes = [
        [i for i, name in enumerate(table.names) if mark in name and ("EncDec" in name) == (kind == "cross")]
        for kind, mark in (
            ("encoder", "encoder.block"),
            ("decoder", "decoder.block"),
            ("cross", "decoder.block"),
        )
    ]
    for own_nodes, maps in zip(nodes, kinds.values(), strict=True):
        part = found[own_nodes]
        assert torch.equal(part[:, part.abs().sum(0) > 0], maps[:, maps.abs().sum(0) > 0])


def test_left_padding_and_no_mask_are_understood(tiny_transformer, tiny_batches):
    table = node_tables(tiny_transformer, "heads")["query"]
    ids = tiny_batches[0]["input_ids"]
    mask = (torch.arange(12) >= 4).long().expand(4, 12)
    left = attention_maps(tiny_transformer, table, [{"input_ids": ids, "attention_mask": mask}])
    assert left.shape == (8, 4 * 8 * 8)
    assert attention_maps(tiny_transformer, table, [{"input_ids": ids}]).shape == (8, 4 * 12 * 12)


def trace(model):
    configs = [dict(module.config.__dict__) for module in model.modules() if hasattr(module, "config")]
    for config in configs:
        del config["problem_type"]  # written by a classifier's forward, whoever calls
    hooks = [list(module._forward_hooks) for module in model.modules()]
    return configs, hooks, [sorted(module.__dict__) for module in model.modules()]


def test_config_and_hooks_are_restored_also_after_an_exception(tiny_transformer, tiny_batches):
    def broken(model, batch):
        model(**batch)
        raise RuntimeError("broken batch")

    table, before = node_tables(tiny_transformer, "heads")["query"], trace(tiny_transformer)
    attention_maps(tiny_transformer, table, tiny_batches[:1])
    assert trace(tiny_transformer) == before
    with pytest.raises(RuntimeError, match="broken batch"):
        attention_maps(tiny_transformer, table, tiny_batches, loss=broken)
    assert trace(tiny_transformer) == before
    assert tiny_transformer.config._attn_implementation == "sdpa"


def test_hooks_of_the_caller_survive(tiny_transformer, tiny_batches):
    handle = tiny_transformer.bert.register_forward_hook(lambda *_: None)
    attention_maps(tiny_transformer, node_tables(tiny_transformer, "heads")["query"], tiny_batches[:1])
    assert handle.id in tiny_transformer.bert._forward_hooks


class Silent(nn.Module):
    """Attention that returns no probabilities."""

    def __init__(self):
        super().__init__()
        self.num_heads = 2
        self.q, self.k, self.v, self.o = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x):
        parts = [layer(x).unflatten(-1, (2, 2)).transpose(1, 2) for layer in (self.q, self.k, self.v)]
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        return self.o(mixed.transpose(1, 2).flatten(2))


def test_a_model_that_gives_no_maps_is_named():
    model = nn.Sequential(Silent())
    with pytest.raises(ValueError, match=r"Sequential gives no attention probabilities at '0\.q\.weight'"):
        attention_maps(model, node_tables(model, "heads")["query"], [torch.ones(1, 3, 4)])


def test_other_schemes_are_refused_before_the_builder_and_the_batches(tiny_transformer):
    table = rows(tiny_transformer)["bert.pooler.dense.weight"]
    for ask in (
        lambda: attention_maps(tiny_transformer, table, []),
        lambda: build(tiny_transformer, table, "gram", source="attention_maps"),
    ):
        with pytest.raises(ValueError, match="belong to heads, not to 'rows'"):
            ask()


def test_maps_make_a_graph_of_heads(tiny_transformer: BertModel, tiny_batches):
    table = node_tables(tiny_transformer, "heads")["query"]
    graph = build(tiny_transformer, table, "cosine_knn", source="attention_maps", batches=tiny_batches, k=3)
    assert graph.num_nodes == 8


@pytest.mark.parametrize("padded", [False, True])
def test_a_decoder_alone_has_columns_for_its_attention_to_an_encoder(random_model, padded):
    model, inputs = random_model("GPT-2 (cross attention)")
    texts, keys = inputs["encoder_hidden_states"].shape[:2]
    mask, encoder_mask = torch.ones_like(inputs["input_ids"]), torch.ones(texts, keys, dtype=torch.int64)
    if padded:
        mask[1, 4:] = 0
        encoder_mask[0, 3:] = 0
    batch = dict(inputs, attention_mask=mask, encoder_attention_mask=encoder_mask)
    table = node_tables(model, "heads")["query"]
    cross = torch.tensor(["crossattention" in role for role in table.role])
    found = attention_maps(model, table, [batch])
    itself = of_real_pairs(own(model, batch), mask, mask)
    outside = of_real_pairs(own(model, batch, "cross_attentions"), mask, encoder_mask)
    assert found.shape == (16, itself.shape[1] + outside.shape[1])
    assert torch.equal(found[~cross][:, : itself.shape[1]], itself)
    assert torch.equal(found[cross][:, itself.shape[1] :], outside)
    assert (
        found[cross][:, : itself.shape[1]].abs().sum() == found[~cross][:, itself.shape[1] :].abs().sum() == 0
    )
