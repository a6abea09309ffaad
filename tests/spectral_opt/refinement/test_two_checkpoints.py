"""Refinement of two checkpoints that differ: names on disk, heads, ties, sizes, types."""

import copy
import warnings

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from paramgraph import rows, updates
from paramgraph.errors import NumericalWarning
from spectral_opt import Refiner, SpectralConfig, refine

from helpers.saved_architectures import DECODER, PLAIN, SAVED, TEXT, make_saved, save

RING = SpectralConfig(builder="ring", source="weights")


def make(name, fields, seed=0, **changes):
    kind = getattr(transformers, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(kind.config_class(**fields, **changes)).eval()


def moved(model, seed=5):
    tuned = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return tuned


def scaled(base, tuned, factor):
    like = tuned if isinstance(base, dict) else None
    with Refiner(base, RING, like=like).opened(tuned, factor=factor) as stream:
        return dict(stream), stream.remarks


@pytest.mark.parametrize("name", SAVED)
def test_two_folders_give_a_folder_that_loads_as_the_result(tmp_path, name):
    base, tuned = make_saved(name), make_saved(name, 1)
    save(base, tmp_path / "base")
    save(tuned, tmp_path / "tuned")
    refined = refine(tmp_path / "base", tmp_path / "tuned", RING, out=tmp_path / "out")
    loaded, info = type(base).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    state, expected = loaded.state_dict(), refine(base, tuned, RING)
    assert refined.remarks == expected.remarks
    assert all(remark.startswith("left as tuned, as no filter acts on it") for remark in refined.remarks)
    assert all(torch.equal(state[each], value) for each, value in refined.items())
    for each, value in expected.items():
        torch.testing.assert_close(state[each], value)
    before, after = (load_file(tmp_path / part / "model.safetensors") for part in ("tuned", "out"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[each], after[each]) for each in before)


@pytest.mark.parametrize("name", ["ViTModel", "MixtralForCausalLM", "GPTNeoXForCausalLM"])
def test_a_state_dict_of_the_files_keeps_its_names(tmp_path, name):
    base, tuned = make_saved(name), make_saved(name, 1)
    save(tuned, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    refined, expected = refine(base, stored, RING), refine(base, tuned, RING)
    assert refined.keys() == stored.keys()
    again = refine(
        base, {each: refined[each] for each in stored}, SpectralConfig(builder="ring", response="identity")
    )
    assert all(torch.equal(refined[each], value) for each, value in again.items())
    untouched = [each for each in stored if "norm" in each]
    assert all(torch.equal(refined[each], stored[each]) for each in untouched)
    assert refined.norm_kept == pytest.approx(expected.norm_kept)


FAMILIES = {
    "Bert": TEXT,
    "Albert": {**TEXT, "embedding_size": 8},
    "DebertaV2": TEXT,
    "DistilBert": {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 32},
    "Electra": {**TEXT, "embedding_size": 8},
    "ModernBert": {**TEXT, "global_attn_every_n_layers": 1},
    "Roberta": TEXT,
    "XLMRoberta": TEXT,
    "MPNet": TEXT,
    "Esm": TEXT,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_language_model_is_the_base_of_a_classifier(family):
    base = make(f"{family}ForMaskedLM", FAMILIES[family])
    tuned = make(f"{family}ForSequenceClassification", FAMILIES[family], seed=1)
    refined = refine(base, tuned, RING)
    state, body = tuned.state_dict(), f"{tuned.base_model_prefix}."
    assert list(refined) == list(state)
    changed = {name for name in state if not torch.equal(refined[name], state[name])}
    assert len(changed) > 5
    shared = {name for name in base.state_dict() if name in state}
    assert changed <= shared
    heads = [name for name in state if name not in shared]
    assert any("without a counterpart in the base" in remark for remark in refined.remarks)
    assert all(torch.equal(refined[name], state[name]) for name in heads)
    same = refine(getattr(base, base.base_model_prefix), getattr(tuned, body[:-1]), RING)
    assert all(torch.equal(refined[body + name], value) for name, value in same.items())


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ("LlamaForCausalLM", "LlamaForSequenceClassification", DECODER),
        ("LlamaForCausalLM", "LlamaModel", DECODER),
        ("LlamaModel", "LlamaForTokenClassification", DECODER),
        ("GPT2LMHeadModel", "GPT2ForSequenceClassification", PLAIN["GPT2LMHeadModel"]),
        ("T5ForConditionalGeneration", "T5EncoderModel", PLAIN["T5ForConditionalGeneration"]),
        ("T5ForConditionalGeneration", "T5ForSequenceClassification", PLAIN["T5ForConditionalGeneration"]),
        ("BertForPreTraining", "BertForTokenClassification", TEXT),
        ("ViTForMaskedImageModeling", "ViTForImageClassification", SAVED["ViTModel"]),
        ("Wav2Vec2ForPreTraining", "Wav2Vec2ForCTC", SAVED["Wav2Vec2ForCTC"]),
    ],
)
@pytest.mark.parametrize("folders", [False, True], ids=["modules", "folders"])
def test_what_only_one_side_has_is_left_as_tuned_and_said(tmp_path, before, after, fields, folders):
    base, tuned = make(before, fields), make(after, fields, seed=1)
    given = (base, tuned)
    if folders:
        given = tmp_path / "base", tmp_path / "tuned"
        save(base, given[0]), save(tuned, given[1])
    refined = refine(*given, RING)
    state = tuned.state_dict()
    assert any(not torch.equal(refined[name], state[name]) for name in refined)
    told = " ".join(refined.remarks)
    alone = [
        name
        for name in (
            "classifier",
            "classification_head",
            "score",
            "lm_head",
            "pooler",
            "decoder",
            "quantizer",
        )
        if name in told
    ]
    assert alone
    assert all(
        torch.equal(value, state[name]) for name, value in refined.items() if name.partition(".")[0] in alone
    )


@pytest.mark.parametrize("part", ["vision", "text"])
def test_a_tower_of_two_is_found_where_its_embeddings_tell(part):
    whole = make_saved("CLIPModel")
    kind = {"vision": transformers.CLIPVisionModel, "text": transformers.CLIPTextModel}
    with torch.random.fork_rng(devices=[]):
        towers = {name: kind[name](getattr(whole.config, f"{name}_config")).eval() for name in kind}
    refined = refine(whole, towers[part], RING)
    same = refine(getattr(whole, f"{part}_model"), towers[part], RING)
    assert all(torch.equal(value, same[name]) for name, value in refined.items())
    with pytest.raises(ValueError, match="not two states of one model"):
        refine(towers["vision"], towers["text"], RING)


class TwoTowers(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.doc = (nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4)) for _ in range(2))


def test_a_tower_that_fits_both_is_refused_with_both():
    base = TwoTowers()
    for pair in ((base, moved(base.query)), (base.query, moved(base))):
        with pytest.raises(ValueError, match=r"'query\.0\.weight' or .*'doc\.0\.weight'"):
            refine(*pair, RING)


def test_a_permuted_matrix_of_the_same_names_is_no_match():
    base = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4))
    turned = {name: value.t().contiguous() for name, value in base.state_dict().items()}
    with pytest.raises(ValueError, match="shapes differ"):
        refine(base, turned, RING)


@pytest.fixture
def tied():
    return make("LlamaForCausalLM", DECODER, tie_word_embeddings=True)


@pytest.fixture
def untied(tied):
    model = make("LlamaForCausalLM", DECODER, tie_word_embeddings=False)
    model.load_state_dict({**tied.state_dict(), "lm_head.weight": tied.lm_head.weight.detach() + 1.0})
    return model


@pytest.mark.parametrize("saved", ["module", "folder", "state"])
def test_an_untied_head_of_a_tied_base_has_its_own_delta(tied, untied, tmp_path, saved):
    save(untied, tmp_path)
    given = {"module": untied, "folder": tmp_path, "state": untied.state_dict()}[saved]
    start = tied.lm_head.weight.detach()
    for factor in (0.0, 0.5, 1.0):
        state, _ = scaled(tied, given, factor)
        torch.testing.assert_close(state["lm_head.weight"], start + factor)
        torch.testing.assert_close(state["model.embed_tokens.weight"], start)
    head = SpectralConfig(builder="ring", source="weights", targets=["lm_head"])
    base = make("LlamaForCausalLM", DECODER, tie_word_embeddings=False)
    base.load_state_dict(tied.state_dict())
    refined = refine(base, given, head)
    assert torch.equal(refined["model.embed_tokens.weight"], start)
    same = refine(tied, given, head)  # of the tied weight, the tables are those of the layer
    assert same.keys() == refined.keys()
    assert all(torch.equal(value, same[name]) for name, value in refined.items())
    table = rows(tied, targets=["lm_head"])["model.embed_tokens.weight"]
    with pytest.raises(ValueError, match="are one tied weight in LlamaForCausalLM, and different ones"):
        updates(tied, given, table)  # by its name it is the embedding, of which there is another update


def test_equal_copies_of_a_tied_weight_are_refined_alike_and_both_written(tied, tmp_path):
    state = {name: value.clone() for name, value in moved(tied).state_dict().items()}
    head = SpectralConfig(builder="ring", source="weights", targets=["lm_head"])
    refined = refine(tied, state, head, out=tmp_path)
    assert torch.equal(refined["lm_head.weight"], refined["model.embed_tokens.weight"])
    assert not torch.equal(refined["lm_head.weight"], state["lm_head.weight"])
    assert load_file(tmp_path / "model.safetensors").keys() == state.keys()


def test_a_weight_that_only_tuned_ties_is_left_as_tuned_and_said(tied, untied):
    for config in (RING, SpectralConfig(builder="ring", source="weights", targets=["lm_head"])):
        refined = refine(untied, tied, config)
        assert torch.equal(refined["lm_head.weight"], tied.lm_head.weight)
        assert any("one tied weight" in remark for remark in refined.remarks)
    state, remarks = scaled(untied, tied, 0.0)
    assert torch.equal(state["lm_head.weight"], tied.lm_head.weight)
    assert any("one tied weight" in remark for remark in remarks)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("gpt2", "transformer.h.0.attn.bias", torch.ones(1, 1, 16, 16)),
        ("gpt2", "transformer.h.0.attn.masked_bias", torch.tensor(-1e4)),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(2)),
        ("bert", "embeddings.position_ids", torch.arange(32)[None]),
    ],
)
def test_old_buffers_are_kept_as_they_are_and_said(kind, name, value):
    base = {
        "gpt2": lambda: make("GPT2LMHeadModel", PLAIN["GPT2LMHeadModel"]),
        "llama": lambda: make("LlamaForCausalLM", DECODER),
        "bert": lambda: make("BertModel", TEXT),
    }[kind]()
    tuned = moved(base)
    refined = refine(base, {**tuned.state_dict(), name: value}, RING)
    assert torch.equal(refined.pop(name), value)
    assert any("buffers" in remark and name in remark for remark in refined.remarks) or kind == "bert"
    assert all(torch.equal(refined[each], found) for each, found in refine(base, tuned, RING).items())


def test_the_bias_of_a_layer_more_is_no_old_buffer():
    deeper = make("GPT2LMHeadModel", {**PLAIN["GPT2LMHeadModel"], "n_layer": 3})
    with pytest.raises(ValueError, match=r"base lacks \['transformer.h.2"):
        refine(make("GPT2LMHeadModel", PLAIN["GPT2LMHeadModel"]), deeper, RING)


@pytest.mark.parametrize("folders", [False, True], ids=["modules", "folders"])
def test_heads_and_vocabularies_of_other_sizes_are_left_as_tuned_and_said(tmp_path, folders):
    base = make("BertForSequenceClassification", TEXT, num_labels=1)
    tuned = make("BertForSequenceClassification", TEXT, seed=1, num_labels=3)
    with torch.random.fork_rng(devices=[]):
        tuned.resize_token_embeddings(43)
    given = (base, tuned)
    if folders:
        given = tmp_path / "base", tmp_path / "tuned"
        save(base, given[0]), save(tuned, given[1])
    refined = refine(*given, RING)
    shrunk, remarks = scaled(*given, 0.0)
    for found, told in ((refined, refined.remarks), (shrunk, remarks)):
        for name in ("classifier.weight", "bert.embeddings.word_embeddings.weight"):
            assert torch.equal(found[name], tuned.state_dict()[name])
            assert any("of another shape" in remark and name in remark for remark in told)
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(shrunk[query], base.state_dict()[query])
    assert not torch.equal(refined[query], tuned.state_dict()[query])


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, None])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("before", [torch.float64, torch.float32, torch.bfloat16])
def test_each_pair_of_dtypes_gives_that_of_tuned(factor, dtype, before):
    base = nn.Sequential(nn.Linear(5, 9), nn.Linear(9, 4)).to(before)
    tuned = moved(base).to(dtype)
    refined = refine(base, tuned, RING) if factor is None else scaled(base, tuned, factor)[0]
    assert {value.dtype for value in refined.values()} == {dtype}
    start, end = base[0].weight.detach(), tuned[0].weight.detach()
    if factor is not None:
        wide = torch.promote_types(torch.promote_types(before, dtype), torch.float32)
        expected = torch.lerp(start.to(wide), end.to(wide), factor).to(dtype)
        assert torch.equal(refined["0.weight"], expected)
    else:
        assert not torch.equal(refined["0.weight"], end)


def test_float64_is_refined_in_float64():
    base = nn.Sequential(nn.Linear(5, 9)).double()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned[0].weight += 1e-12
    constant = refine(base, tuned, RING)["0.weight"] - base[0].weight.detach()
    assert 0 < constant.abs().max() < 2e-12


@pytest.mark.parametrize("factor", [None, 0.5])
@pytest.mark.parametrize("side", ["base", "tuned"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.uint8])
def test_quantized_weights_are_refused_before_any_work(factor, side, dtype, monkeypatch):
    models = {"base": nn.Sequential(nn.Linear(5, 9)), "tuned": nn.Sequential(nn.Linear(5, 9))}
    state = {name: value.to(dtype) for name, value in models[side].state_dict().items()}
    base, tuned = (models["base"], state) if side == "tuned" else (state, models["tuned"])
    if factor is None:
        monkeypatch.setattr(
            "spectral_opt.refinement._filters.prepare_tables", lambda *_: pytest.fail("built")
        )
    with pytest.raises(ValueError, match=rf"{side} is quantized \({dtype}\).*full precision"):
        refine(base, tuned, RING) if factor is None else scaled(base, tuned, factor)


def test_an_unmerged_adapter_in_a_state_dict_is_refused_with_the_way_out():
    from peft import LoraConfig, get_peft_model

    base = make("BertModel", TEXT)
    wrapped = get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=["query"]))
    with pytest.raises(ValueError, match="give the PeftModel or the folder of the adapter, or merge it"):
        refine(base, wrapped.state_dict(), RING)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_prefixes_of_wrappers_stay_in_the_result(prefix):
    base = make("BertModel", TEXT)
    tuned = moved(base)
    refined = refine(base, {prefix + name: value for name, value in tuned.state_dict().items()}, RING)
    expected = refine(base, tuned, RING)
    assert list(refined) == [prefix + name for name in expected]
    assert all(torch.equal(refined[prefix + name], value) for name, value in expected.items())


def test_a_sharded_tuned_folder_is_refined(tmp_path):
    base, tuned = make_saved("MixtralForCausalLM"), make_saved("MixtralForCausalLM", 1)
    tuned.save_pretrained(tmp_path / "tuned", max_shard_size="5kB")
    refined = refine(base, tmp_path / "tuned", RING, out=tmp_path / "out")
    loaded = type(base).from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in refined.items())


@pytest.mark.parametrize("graph", ["product", "columns", "rows"])
def test_a_batch_without_anything_for_a_decoder_is_one_clear_line(graph):
    base, tuned = make_saved("T5ForConditionalGeneration"), make_saved("T5ForConditionalGeneration", 1)
    ids = torch.arange(1, 13).reshape(2, 6)
    with pytest.raises(
        ValueError, match=r"T5.* has an encoder and a decoder.*put decoder_input_ids or labels"
    ):
        refine(base, tuned, "preserve", {"preserve": [{"input_ids": ids}]}, graph=graph)
    batches = {"preserve": [{"input_ids": ids, "decoder_input_ids": ids}]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # two texts are few
        refined = refine(base, tuned, "preserve", batches, graph=graph)
    name = "decoder.block.1.layer.2.DenseReluDense.wi.weight"
    assert not torch.equal(refined[name], tuned.get_parameter(name))
