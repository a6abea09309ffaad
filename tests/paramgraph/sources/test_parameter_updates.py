"""Updates between two checkpoints, and what adapters add."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

from paramgraph import build, collect, node_tables, rows, updates
from paramgraph.checkpoints import open_checkpoint

QUERY = "bert.encoder.layer.0.attention.self.query.weight"


@pytest.fixture
def tuned(tiny_transformer, generator):
    """The tiny transformer after a random step."""
    model = copy.deepcopy(tiny_transformer)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def peft_model(model, seed=3, **options):
    """Wrap a copy of a model, with factors that are not zero."""
    options = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "dense"]} | options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = get_peft_model(copy.deepcopy(model), LoraConfig(**options))
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                nn.init.normal_(parameter)
    return wrapped


def merged_difference(wrapped, base, table):
    merged = dict(copy.deepcopy(wrapped).merge_and_unload().named_parameters())
    return table.gather(merged).detach() - table.gather(dict(base.named_parameters())).detach()


@pytest.mark.parametrize("scheme", ["rows", "columns", "blocks", "heads", "layers"])
def test_updates_are_the_difference_gathered(tiny_transformer, tuned, scheme, tmp_path):
    tuned.save_pretrained(tmp_path)
    tables = node_tables(tiny_transformer, scheme)
    before, after = dict(tiny_transformer.named_parameters()), dict(tuned.named_parameters())
    found = collect(tiny_transformer, tables, "updates", tuned=tmp_path)
    for group, table in tables.items():
        expected = table.gather({n: (after[n] - before[n]).detach() for n in table.parameters})
        assert torch.equal(found[group], expected)


def test_a_bare_checkpoint_and_its_task_model_are_subtracted(tiny_transformer, tuned, tmp_path):
    tuned.bert.save_pretrained(tmp_path)
    table = rows(tiny_transformer)[QUERY]
    assert torch.equal(updates(tiny_transformer, tmp_path, table), updates(tiny_transformer, tuned, table))


def test_half_precision_is_subtracted_in_float32(tiny_transformer, tuned):
    table = rows(tiny_transformer)[QUERY]
    half, other = tiny_transformer.bfloat16(), tuned.half()
    found = updates(half, other, table)
    assert found.dtype == torch.float32
    weights = (dict(model.named_parameters())[QUERY].detach().float() for model in (other, half))
    assert torch.equal(found, torch.sub(*weights))


def test_a_tied_weight_saved_under_its_other_name_is_found(tmp_path):
    model = nn.ModuleDict({"embed": nn.Linear(3, 2, bias=False), "head": nn.Linear(3, 2, bias=False)})
    model["head"].weight = model["embed"].weight
    save_file({"head.weight": model["head"].weight.detach() + 1}, tmp_path / "model.safetensors")
    found = updates(model, tmp_path, rows(model)["embed.weight"])
    torch.testing.assert_close(found, torch.ones(2, 3))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"query": 2}, "alpha_pattern": {"layer.1.attention.self.query": 5}},
        {"target_modules": ["word_embeddings", "query"]},
        {"modules_to_save": ["classifier"]},
    ],
)
@pytest.mark.parametrize("saved", [True, False], ids=["folder", "module"])
def test_an_adapter_is_what_merging_it_adds(tiny_transformer, tmp_path, options, saved):
    wrapped = peft_model(tiny_transformer, **options)
    wrapped.save_pretrained(tmp_path)
    table = rows(tiny_transformer)[QUERY]
    expected = merged_difference(wrapped, tiny_transformer, table)
    found = updates(tiny_transformer, tmp_path if saved else wrapped, table)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(
        found, expected, rtol=1e-5, atol=1e-6
    )  # float32 round-off of the merged weights


def test_a_square_transposed_layer_is_transposed(measurable_gpt2, tmp_path):
    wrapped = peft_model(measurable_gpt2, target_modules=["attn.c_proj"], fan_in_fan_out=True)
    wrapped.save_pretrained(tmp_path)
    table = rows(measurable_gpt2)["transformer.h.0.attn.c_proj.weight"]
    expected = merged_difference(wrapped, measurable_gpt2, table)
    torch.testing.assert_close(updates(measurable_gpt2, tmp_path, table), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def measurable_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=1, n_head=4))


def test_layers_without_an_adapter_have_no_update(tiny_transformer, tmp_path):
    peft_model(tiny_transformer, target_modules=["key"]).save_pretrained(tmp_path)
    assert updates(tiny_transformer, tmp_path, rows(tiny_transformer)[QUERY]).eq(0).all()


def test_a_disabled_or_merged_adapter_counts_as_the_model_computes(tiny_transformer):
    wrapped, table = peft_model(tiny_transformer), rows(tiny_transformer)[QUERY]
    with wrapped.disable_adapter():
        assert updates(tiny_transformer, wrapped, table).eq(0).all()
    expected = updates(tiny_transformer, wrapped, table)
    wrapped.merge_adapter()
    torch.testing.assert_close(updates(tiny_transformer, wrapped, table), expected, rtol=1e-5, atol=1e-6)


def test_adapted_weights_are_base_and_update_together(tiny_transformer, tmp_path):
    wrapped = peft_model(tiny_transformer)
    wrapped.save_pretrained(tmp_path)
    opened = open_checkpoint(tmp_path, open_checkpoint(tiny_transformer))
    merged = dict(wrapped.merge_and_unload().named_parameters())
    assert list(opened) == [name for name, _ in tiny_transformer.named_parameters()]
    for name, value in opened.items():
        torch.testing.assert_close(value, merged[name].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"use_dora": True}, "with use_dora the tuned weight is not base"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'.*merge the adapter"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            "found at random.*merge the adapter .* where it was trained",
        ),
        ({"peft_type": "IA3"}, "is a IA3 adapter; only LORA"),
        ({"r": 5}, "should have rank 5"),
        ({"lora_alpha": None}, "no r and lora_alpha"),
    ],
)
def test_adapters_that_are_no_scaled_product_are_refused(tiny_transformer, tmp_path, change, text):
    peft_model(tiny_transformer).save_pretrained(tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ValueError, match=text):
        updates(tiny_transformer, tmp_path, rows(tiny_transformer)[QUERY])


def test_a_live_dora_adapter_is_refused(tiny_transformer):
    wrapped = peft_model(tiny_transformer, use_dora=True)
    with pytest.raises(ValueError, match="LoRA variant such as DoRA"):
        updates(tiny_transformer, wrapped, rows(tiny_transformer)[QUERY])


def test_an_adapter_of_another_model_is_refused(tiny_transformer, tmp_path):
    peft_model(tiny_transformer).save_pretrained(tmp_path)
    other = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="was not made for this base"):
        updates(other, tmp_path, rows(other)["0.weight"])


def test_an_adapter_is_no_base(tiny_transformer, tmp_path):
    peft_model(tiny_transformer).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="an update of a model and no model"):
        updates(tmp_path, tiny_transformer, rows(tiny_transformer)[QUERY])


@pytest.mark.parametrize(
    ("tuned", "error", "text"),
    [
        (
            {"0.bias": torch.ones(2)},
            KeyError,
            r"mapping has no parameter '0.weight' .1 in all; it has 0.bias",
        ),
        (
            {"0.weight": torch.ones(3, 2)},
            ValueError,
            r"is \(2, 3\) in Sequential and \(3, 2\) in the mapping",
        ),
        ({"0.weight": torch.ones(2, 3, dtype=torch.int8)}, TypeError, "stored as torch.int8: a quantized"),
        ({"0.weight": torch.full((2, 3), torch.nan)}, ValueError, "NaN or infinite update of '0.weight'"),
    ],
)
def test_checkpoints_that_do_not_fit_name_the_parameter(tuned, error, text):
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(error, match=text):
        updates(model, tuned, rows(model)["0.weight"])


def test_updates_are_a_source_of_graphs(tiny_transformer, tuned):
    table = rows(tiny_transformer)[QUERY]
    graph = build(tiny_transformer, table, "cosine_knn", source="updates", tuned=tuned, k=3)
    assert graph.source == "updates"
    assert torch.equal(graph.x, updates(tiny_transformer, tuned, table))


def test_tuned_is_needed_by_updates_and_by_no_other(tiny_transformer, tuned):
    tables = rows(tiny_transformer)
    with pytest.raises(ValueError, match="'updates' needs tuned="):
        collect(tiny_transformer, tables, "updates")
    for source in ("weights", lambda *_: None):
        with pytest.raises(ValueError, match="read by the source 'updates' alone"):
            collect(tiny_transformer, tables, source, tuned=tuned)
