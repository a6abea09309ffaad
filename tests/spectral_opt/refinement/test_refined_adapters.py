"""Refined adapters: what is written loads in PEFT and in transformers with the tensors of the result."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from paramgraph.checkpoints import open_checkpoint
from spectral_opt import Refiner, SpectralConfig, refine

from helpers.saved_architectures import make_saved, save

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Setting `save_embedding_layers`:UserWarning"
    ),  # PEFT 0.21, as it saves
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set:UserWarning"),
    pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model .*tie_word_embeddings=True:UserWarning"),
]
SMALL = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4}
ROWS = SpectralConfig(builder="ring", source="weights")
BLOCKS = SpectralConfig(builder="ring", source="weights", scheme="blocks")


def llama(tied=False):
    config = LlamaConfig(**SMALL, num_hidden_layers=1, num_key_value_heads=2, tie_word_embeddings=tied)
    return LlamaForCausalLM(config).eval()


def gpt2():
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=1, n_head=4, tie_word_embeddings=False)
    ).eval()


def routed():
    """A mixture whose router has a buffer, the correction of each expert's score."""
    model = copy.deepcopy(make_saved("DeepseekV3ForCausalLM"))
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(torch.arange(len(buffer)))
    return model.eval()


def trained(base, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        wrapped = get_peft_model(copy.deepcopy(base), LoraConfig(**({"r": 2} | options)))
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return wrapped


CASES = {
    "output embeddings": (llama, {"target_modules": ["q_proj", "lm_head"]}),
    "embeddings": (llama, {"target_modules": ["q_proj", "embed_tokens"]}),
    "buffers": (routed, {"target_modules": ["o_proj"]}),
    "square Conv1D": (gpt2, {"target_modules": ["c_proj", "lm_head"]}),
    "both sides of a tied weight": (
        lambda: llama(tied=True),
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    "one side of a tied weight": (
        lambda: llama(tied=True),
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_merged_adapter_loads_with_the_tensors_of_the_result(tmp_path, case):
    make, options = CASES[case]
    base = make()
    wrapped = trained(base, **options)
    wrapped.save_pretrained(tmp_path / "adapter")
    base.save_pretrained(tmp_path / "base")
    found = [
        refine(one, tuned, BLOCKS, out=tmp_path / f"{number}")
        for number, (one, tuned) in enumerate(
            [(base, wrapped), (base, tmp_path / "adapter"), (tmp_path / "base", tmp_path / "adapter")]
        )
    ]
    assert {each.form for each in found} == {"merged"}
    truth = (
        PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "adapter").merge_and_unload().state_dict()
    )
    tied = "tied" in case
    for number, refined in enumerate(found):
        loaded = type(base).from_pretrained(tmp_path / f"{number}").state_dict()
        assert set(refined) == set(truth)
        for name, value in refined.items():
            assert torch.equal(loaded[name], value)
            torch.testing.assert_close(value, found[0][name])
        rest = ("lm_head.weight", "model.embed_tokens.weight", "transformer.wte.weight")
        for name in truth:
            if name in rest or name.endswith("e_score_correction_bias"):  # not filtered: as it was tuned
                torch.testing.assert_close(refined[name], truth[name], rtol=1e-5, atol=2e-6)
        if tied:
            assert not json.loads((tmp_path / f"{number}" / "config.json").read_text())["tie_word_embeddings"]
            assert any("where the base ties them" in remark for remark in refined.remarks)


def bart():
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    sizes = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1}
    return BartForConditionalGeneration(BartConfig(vocab_size=40, d_model=16, **heads, **sizes)).eval()


def t5():
    config = T5Config(vocab_size=40, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=4)
    return T5ForConditionalGeneration(config).eval()


MANY_NAMES = {
    "biases of a head": (
        lambda: BertForMaskedLM(BertConfig(**SMALL, num_hidden_layers=1)).eval(),
        {"target_modules": ["query", "decoder"]},
    ),
    "one of four": (bart, {"target_modules": ["q_proj", "shared"]}),
    "two of four": (bart, {"target_modules": ["q_proj", "embed_tokens"]}),
    "one that is tied whatever the config says": (
        t5,
        {"target_modules": ["q"], "modules_to_save": ["shared"]},
    ),
}


@pytest.mark.parametrize("case", MANY_NAMES)
def test_a_model_that_an_adapter_unties_is_written_under_all_names(tmp_path, case):
    make, options = MANY_NAMES[case]
    base = make()
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.add_(0.1)  # biases start at zero, as one that is drawn anew
    wrapped = trained(base, **options).eval()
    identity = SpectralConfig(builder="ring", source="weights", scheme="blocks", response="identity")
    refined = refine(base, wrapped, identity, out=tmp_path)
    assert refined.form == "merged"
    assert set(refined) == set(base.state_dict())
    loaded, info = type(base).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    words = torch.arange(4, 12)[None]
    texts = {"input_ids": words} | ({"decoder_input_ids": words} if base.config.is_encoder_decoder else {})
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.eval()(**texts).logits, wrapped(**texts).logits, rtol=1e-4, atol=1e-4
        )


def scale(wrapped):
    for layer in wrapped.modules():
        if hasattr(layer, "scale_layer"):
            layer.scale_layer(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scale, "scaled by 0.5, 1 in its configuration"),
        (
            lambda wrapped: wrapped.base_model.disable_adapter_layers(),
            "disabled, so that it runs as its base",
        ),
    ],
)
def test_an_adapter_that_runs_otherwise_than_it_is_saved_is_refused(change, message):
    base = llama()
    wrapped = trained(base, target_modules=["q_proj"], lora_alpha=2)
    assert refine(base, wrapped, ROWS).form == "adapter"
    change(wrapped)
    with pytest.raises(ValueError, match=message):
        refine(base, wrapped, ROWS)


@pytest.mark.parametrize("config", [ROWS, BLOCKS], ids=["adapter", "merged"])
def test_weights_that_were_trained_beside_an_adapter_are_not_lost(config):
    base = llama()
    wrapped = trained(copy.deepcopy(base), target_modules=["q_proj"])
    norm = wrapped.base_model.model.model.norm.weight.requires_grad_()
    assert refine(base, wrapped, config).keys()  # as it was
    with torch.no_grad():
        norm.add_(1.0)
    with pytest.raises(ValueError, match=r"not save \(model.norm.weight\): merge it"):
        refine(base, wrapped, config)
    found = refine(base, wrapped.merge_and_unload(), config)
    assert torch.equal(found["model.norm.weight"], norm.detach())


@pytest.mark.parametrize("config", [ROWS, BLOCKS], ids=["adapter", "merged"])
def test_an_adapter_of_transformers_is_that_of_its_folder(tmp_path, config):
    base = llama()
    base.save_pretrained(tmp_path / "base")
    tuned = copy.deepcopy(base)
    tuned.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False), "mine")
    tuned.save_pretrained(tmp_path / "adapter")
    from_folder = refine(base, tmp_path / "adapter", config)
    from_module = refine(base, tuned, config)
    assert from_module.form == from_folder.form
    assert from_module.keys() == from_folder.keys()
    assert all(torch.equal(from_module[name], value) for name, value in from_folder.items())
    tuned.disable_adapters()
    with pytest.raises(ValueError, match="adapter disabled"):
        refine(base, tuned, config)


def test_the_model_inside_of_a_peft_model_is_refused():
    base = llama()
    with pytest.raises(ValueError, match="give the PeftModel"):
        refine(base, trained(base, target_modules=["q_proj"]).get_base_model(), ROWS)


def test_an_adapter_of_two_towers_is_merged_into_a_folder(tmp_path):
    base = make_saved("CLIPModel")
    refined = refine(base, trained(base, target_modules=["q_proj"]), BLOCKS, out=tmp_path)
    loaded = type(base).from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in refined.items())


def test_weights_alone_run_with_their_own_buffers():
    base, tuned = routed(), copy.deepcopy(make_saved("DeepseekV3ForCausalLM", seed=1))
    texts = {
        "preserve": [{"input_ids": torch.randint(3, 40, (32, 6), generator=torch.Generator().manual_seed(0))}]
    }
    found, alone = (
        refine(one, tuned, "preserve", batches=texts, strength=1.0, graph="columns")
        for one in (base, base.state_dict())
    )
    for name, value in found.items():
        torch.testing.assert_close(alone[name], value)


@pytest.mark.parametrize("case", CASES)
def test_a_refined_adapter_loads_in_peft_with_its_filtered_update(tmp_path, case):
    make, options = CASES[case]
    base = make()
    wrapped = trained(base, **options)
    refined = refine(base, wrapped, ROWS, out=tmp_path)
    assert refined.form == "adapter"
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).merge_and_unload().state_dict()
    full = refine(base, copy.deepcopy(wrapped).merge_and_unload(), ROWS)
    assert set(loaded) == set(full)
    for name, value in full.items():
        torch.testing.assert_close(loaded[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_each_side_of_a_tied_weight_is_scaled_on_its_own(tmp_path, factor):
    base = llama(tied=True)
    wrapped = trained(base, **CASES["both sides of a tied weight"][1])
    wrapped.save_pretrained(tmp_path)
    truth = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).merge_and_unload().state_dict()
    with Refiner(base, ROWS).opened(wrapped, factor=factor) as stream:
        found = dict(stream)
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        expected = torch.lerp(base.lm_head.weight, truth[name], factor)
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("config", [ROWS, BLOCKS], ids=["adapter", "merged"])
def test_the_result_shares_no_memory_with_base_or_tuned(config):
    base = llama()
    wrapped = trained(base, target_modules=["q_proj"], modules_to_save=["lm_head"])
    theirs = {value.data_ptr() for model in (base, wrapped) for value in model.state_dict().values()}
    assert not theirs & {value.data_ptr() for value in refine(base, wrapped, config).values()}


@pytest.fixture
def classifier():
    return BertForSequenceClassification(BertConfig(**SMALL, num_hidden_layers=1, num_labels=3)).eval()


@pytest.mark.parametrize("form", ["folder", "module"])
def test_a_head_without_a_base_stays_as_tuned_and_is_named(tmp_path, classifier, form):
    wrapped = trained(classifier, target_modules=["query"], task_type="SEQ_CLS")
    wrapped.save_pretrained(tmp_path / "adapter")
    tuned = tmp_path / "adapter" if form == "folder" else wrapped
    head = wrapped.base_model.model.classifier.modules_to_save["default"]
    classifier.bert.save_pretrained(tmp_path / "base")
    kept = refine(classifier.bert, tuned, ROWS, out=tmp_path / "kept")
    assert kept.form == "adapter"
    full = PeftModel.from_pretrained(copy.deepcopy(classifier), tmp_path / "kept").merge_and_unload()
    assert torch.equal(full.classifier.weight, head.weight)
    merged = refine(tmp_path / "base", tuned, BLOCKS, out=tmp_path / "merged")
    assert merged.form == "merged"
    for refined in (kept, merged):
        assert any("classifier.weight" in remark for remark in refined.remarks)
    loaded = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "merged", num_labels=3
    ).state_dict()
    for name, value in merged.items():
        assert torch.equal(loaded[name if name.startswith("classifier") else f"bert.{name}"], value)


def test_half_precision_of_base_and_head_is_kept(tmp_path, classifier):
    wrapped = trained(classifier.bfloat16(), target_modules=["query"], task_type="SEQ_CLS")
    wrapped.save_pretrained(tmp_path)
    stored = open_checkpoint(tmp_path / "adapter_model.safetensors")
    merged = refine(classifier.bert, tmp_path, BLOCKS)
    assert merged["classifier.weight"].dtype == stored["classifier.weight"].dtype
    assert merged["encoder.layer.0.attention.self.query.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    "options", [{"modules_to_save": ["embed_tokens", "lm_head"]}, {}], ids=["whole", "factors"]
)
def test_added_tokens_of_an_adapter_are_written_and_load(tmp_path, options):
    base = llama()
    larger = copy.deepcopy(base)
    larger.resize_token_embeddings(44)
    targets = ["q_proj"] if options else ["q_proj", "embed_tokens", "lm_head"]
    wrapped = trained(larger, target_modules=targets, **options)
    wrapped.save_pretrained(tmp_path / "adapter")
    refined = refine(base, tmp_path / "adapter", BLOCKS, out=tmp_path / "out")
    loaded = LlamaForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    truth = wrapped.merge_and_unload().state_dict()
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        assert refined[name].shape == (44, 16)
        assert torch.equal(loaded[name], refined[name])
        torch.testing.assert_close(refined[name], truth[name], rtol=1e-5, atol=2e-6)
    assert any("(40, 16) against (44, 16)" in remark for remark in refined.remarks)


@pytest.mark.parametrize("bits", [4, 8])
def test_an_adapter_of_a_quantized_base_is_refined_on_the_plain_one(tmp_path, bits):
    base = llama()
    base.save_pretrained(tmp_path / "base")
    quantization = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    quantized = LlamaForCausalLM.from_pretrained(
        tmp_path / "base", quantization_config=quantization, device_map="cpu"
    )
    for given in ((quantized, base), (base, quantized)):
        with pytest.raises(ValueError, match=r"is quantized .*full precision.*dequantize"):
            refine(*given, ROWS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        wrapped = get_peft_model(quantized, LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    wrapped.train()  # bitsandbytes' kernel of evaluation takes multiples of 32 alone
    optimizer = torch.optim.SGD([each for each in wrapped.parameters() if each.requires_grad], lr=10.0)
    ids = torch.arange(12).reshape(2, 6)
    for _ in range(2):  # B is zero before the first step
        wrapped(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    wrapped.save_pretrained(tmp_path / "adapter")
    refined = refine(tmp_path / "base", tmp_path / "adapter", ROWS, out=tmp_path / "out")
    assert refined.form == "adapter"
    in_memory = refine(base, wrapped, ROWS)
    assert all(torch.equal(refined[name], value) for name, value in in_memory.items())
    plain = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "adapter").merge_and_unload()
    merged = refine(base, plain, ROWS)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "out").merge_and_unload().state_dict()
    changed = [name for name in merged if not torch.equal(merged[name], base.state_dict()[name])]
    assert len(changed) == 2
    for name in merged:  # float32 factors, of updates up to 1
        torch.testing.assert_close(loaded[name], merged[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["MixtralForCausalLM", "GptOssForCausalLM"])
@pytest.mark.parametrize("experts", [True, False], ids=["experts filtered", "experts left"])
def test_an_adapter_of_experts_is_refined_as_merged_weights_are(tmp_path, name, experts):
    base = make_saved(name)
    parameters = [".".join(key.split(".")[-2:]) for key, value in base.named_parameters() if value.ndim == 3]
    wrapped = trained(base, target_modules=["q_proj"], target_parameters=sorted(set(parameters)))
    save(base, tmp_path / "base")
    wrapped.save_pretrained(tmp_path / "adapter")
    plain = copy.deepcopy(wrapped).merge_and_unload()
    config = ROWS if experts else SpectralConfig(builder="ring", source="weights", targets=["q_proj"])
    expected = refine(base, plain, config)
    out = tmp_path / "out"
    refined = refine(tmp_path / "base", tmp_path / "adapter", config, out=out)
    assert refined.form == ("merged" if experts else "adapter")
    assert any("experts in one" in remark for remark in refined.remarks) == experts
    if experts:
        loaded = type(base).from_pretrained(out)
    else:
        loaded = PeftModel.from_pretrained(copy.deepcopy(base), out).merge_and_unload()
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-5)  # float32, updates of order 1
    moved = [key for key in expected if not torch.equal(expected[key], plain.state_dict()[key])]
    assert any("experts" in key for key in moved) == experts
