"""Adapters of PEFT, on disk and around a module: the truth is PEFT's own merged model minus the base."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    ViTConfig,
    ViTModel,
)

from paramgraph import rows, updates
from paramgraph.checkpoints import correspond, open_checkpoint

from helpers.tiny_architectures import make

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Setting `save_embedding_layers`:UserWarning"
    ),  # PEFT 0.21, told by its folder
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set:UserWarning"),
    pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning"),
    pytest.mark.filterwarnings("ignore:Adapter 'default'.*lora_B.bias:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:The following .*_pattern keys:RuntimeWarning"
    ),  # of parameters, and used
    pytest.mark.filterwarnings("ignore:Model .*tie_word_embeddings=True:UserWarning"),
]
SMALL = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4}
BERT = BertConfig(**SMALL, num_hidden_layers=2)
MAKERS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, num_hidden_layers=1, num_key_value_heads=2)),
    "tied llama": lambda: LlamaForCausalLM(
        LlamaConfig(**SMALL, num_hidden_layers=1, num_key_value_heads=2, tie_word_embeddings=True)
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=1, n_head=4, tie_word_embeddings=False)
    ),
    "bert": lambda: BertForSequenceClassification(BERT),
    "vit": lambda: ViTModel(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=32,
            image_size=8,
            patch_size=4,
        )
    ),
    "mixtral": lambda: MixtralForCausalLM(
        MixtralConfig(**SMALL, num_hidden_layers=1, num_key_value_heads=2, num_local_experts=2)
    ),
    "gpt-oss": lambda: copy.deepcopy(make("gpt-oss")),
    "llama 4": lambda: copy.deepcopy(make("Llama 4")),
    "jetmoe": lambda: copy.deepcopy(make("JetMoE")),
}


def made(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MAKERS[name]().eval()


def trained(base, **options):
    """Wrap a copy of a model, and move all that is trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        wrapped = get_peft_model(copy.deepcopy(base), LoraConfig(**({"r": 2} | options)))
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return wrapped


def saved(wrapped, folder):
    wrapped.save_pretrained(folder)
    return folder


def merged(base, folder):
    state = PeftModel.from_pretrained(copy.deepcopy(base), folder).merge_and_unload().state_dict()
    return {name: value.detach() for name, value in state.items()}


CASES = {
    "output embeddings": ("llama", {"target_modules": ["q_proj", "lm_head"]}),
    "embeddings": ("llama", {"target_modules": ["embed_tokens", "q_proj"]}),
    "both embeddings": ("llama", {"target_modules": ["embed_tokens", "lm_head"]}),
    "whole embeddings": (
        "llama",
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    "square Conv1D beside Linear": ("gpt2", {"target_modules": ["c_proj", "lm_head"]}),
    "Conv1D beside an embedding": ("gpt2", {"target_modules": ["wpe", "wte", "c_attn", "c_proj"]}),
    "all biases": ("bert", {"target_modules": ["query"], "bias": "all", "task_type": "SEQ_CLS"}),
    "biases of layers": ("bert", {"target_modules": ["query"], "bias": "lora_only"}),
    "patterns of ranks": (
        "bert",
        {
            "target_modules": ["query", "dense"],
            "use_rslora": True,
            "rank_pattern": {"query": 3},
            "alpha_pattern": {"layer.1.attention.self.query": 5},
        },
    ),
    "every linear layer": ("bert", {"target_modules": "all-linear", "task_type": "SEQ_CLS"}),
    "one layer": ("bert", {"target_modules": ["query"], "layers_to_transform": [1]}),
    "a convolution": ("vit", {"target_modules": ["projection"]}),
    "minor components": ("llama", {"target_modules": ["q_proj"], "init_lora_weights": "mica"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_update_is_the_merged_model_minus_the_base(tmp_path, case):
    name, options = CASES[case]
    base = made(name)
    wrapped = trained(base, **options)
    folder = saved(wrapped, tmp_path / "adapter")
    base.save_pretrained(tmp_path / "base")
    truth = merged(base, folder)
    for source in (base, tmp_path / "base"):
        before = open_checkpoint(source)
        after, live = open_checkpoint(folder, before), open_checkpoint(wrapped)
        found = correspond(before, live)
        for weight in before:
            expected = truth[weight] - base.state_dict()[weight]
            torch.testing.assert_close(after.update(weight), expected, rtol=1e-5, atol=2e-6)
            torch.testing.assert_close(after[weight], truth[weight], rtol=1e-5, atol=2e-6)
            torch.testing.assert_close(live[found.partner(weight)], truth[weight], rtol=1e-5, atol=2e-6)
            assert after.shape(weight) == tuple(expected.shape)


def test_base_weights_beside_factors_are_no_training_of_the_whole(tmp_path):
    base = made("llama")
    folder = saved(trained(base, target_modules=["q_proj", "lm_head"]), tmp_path)
    assert any("lm_head.base_layer" in name for name in load_file(folder / "adapter_model.safetensors"))
    opened = open_checkpoint(folder, open_checkpoint(base))
    assert not opened.is_whole("lm_head.weight")
    assert opened.factor_names("lm_head.weight") is not None
    half = open_checkpoint(folder, open_checkpoint(copy.deepcopy(base).bfloat16()))
    assert not half.is_whole("lm_head.weight")


def test_other_base_weights_beside_factors_count_as_peft_counts_them(tmp_path):
    base = made("llama")
    folder = saved(trained(base, target_modules=["q_proj", "lm_head"]), tmp_path)
    with torch.no_grad():
        base.lm_head.weight.add_(1.0)
    opened = open_checkpoint(folder, open_checkpoint(base))
    expected = merged(base, folder)["lm_head.weight"] - base.lm_head.weight.detach()
    assert opened.is_whole("lm_head.weight")
    torch.testing.assert_close(opened.update("lm_head.weight"), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_are_added_as_peft_adds_them(tmp_path, dtype):
    base = made("llama").to(dtype)
    folder = saved(trained(base, target_modules=["q_proj"]), tmp_path)
    name = "model.layers.0.self_attn.q_proj.weight"
    opened = open_checkpoint(folder, open_checkpoint(base))
    assert opened.update(name).dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert opened.dtype(name) == dtype
    expected = merged(base, folder)[name]
    torch.testing.assert_close(opened[name].to(dtype), expected)
    assert opened["model.norm.weight"].dtype == dtype


def test_the_update_of_a_quantized_base_is_known_and_its_weight_is_not(tmp_path):
    base = made("llama")
    folder = saved(trained(base, target_modules=["q_proj"]), tmp_path)
    name = "model.layers.0.self_attn.q_proj.weight"
    codes = base.state_dict() | {name: torch.ones(16, 16, dtype=torch.int8)}
    opened = open_checkpoint(folder, open_checkpoint(codes))
    expected = open_checkpoint(folder, open_checkpoint(base)).update(name)
    assert torch.equal(opened.update(name), expected)
    with pytest.raises(TypeError, match="quantized weight"):
        opened[name]


TIED = {
    "both": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "output": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "input": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
}


@pytest.mark.parametrize("case", TIED)
def test_sides_of_a_tied_weight_that_drift_apart_are_two_weights(tmp_path, case):
    base = made("tied llama")
    wrapped = trained(base, **TIED[case])
    folder = saved(wrapped, tmp_path)
    truth = merged(base, folder)
    before = open_checkpoint(base)
    opened = open_checkpoint(folder, before)
    assert opened.untied == (("model.embed_tokens.weight", "lm_head.weight"),)
    assert set(opened) == set(truth)
    for name, value in opened.items():
        torch.testing.assert_close(value, truth[name], rtol=1e-5, atol=2e-6)
    for after in (opened, open_checkpoint(wrapped)):
        with pytest.raises(
            ValueError, match=r"one tied weight in LlamaForCausalLM, and .* which update is meant"
        ):
            correspond(before, after).partner("model.embed_tokens.weight")
    with pytest.raises(ValueError, match="changes them differently: which update is meant cannot be told"):
        opened.update("model.embed_tokens.weight")


@pytest.mark.parametrize("side", ["embed_tokens", "lm_head"])
def test_factors_on_one_side_of_a_tied_weight_leave_the_other(tmp_path, side):
    base = made("tied llama")
    wrapped = trained(base, target_modules=[side])
    opened = open_checkpoint(saved(wrapped, tmp_path), open_checkpoint(base))
    moved = {name for name, value in opened.items() if not torch.equal(value, base.get_parameter(name))}
    assert moved == {f"model.{side}.weight" if side == "embed_tokens" else "lm_head.weight"}
    live = open_checkpoint(wrapped)
    for name, value in opened.items():
        torch.testing.assert_close(value, live[name])


def test_a_head_that_the_base_lacks_is_as_it_was_saved(tmp_path):
    model = made("bert")
    wrapped = trained(model, target_modules=["query"], task_type="SEQ_CLS")
    folder = saved(wrapped, tmp_path)
    base = model.bert
    opened = open_checkpoint(folder, open_checkpoint(base))
    head = wrapped.base_model.model.classifier.modules_to_save["default"]
    assert torch.equal(opened["classifier.weight"], head.weight)
    assert opened.shape("classifier.bias") == (2,)
    assert opened.dtype("classifier.bias") == torch.float32
    truth = merged(model, folder)
    table = rows(base)["encoder.layer.0.attention.self.query.weight"]
    expected = truth[f"bert.{table.parameters[0]}"] - base.get_parameter(table.parameters[0]).detach()
    torch.testing.assert_close(updates(base, folder, table), expected, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(updates(base, wrapped, table), expected, rtol=1e-5, atol=2e-6)


def test_a_layer_that_the_base_lacks_is_no_head(tmp_path):
    folder = saved(trained(made("bert"), target_modules=["query"], bias="all"), tmp_path)
    shallow = BertModel(BertConfig(**SMALL, num_hidden_layers=1))
    with pytest.raises(ValueError, match=r"was not made for this base: .*encoder\.layer\.1"):
        open_checkpoint(folder, open_checkpoint(shallow))


def test_a_base_of_other_sizes_is_refused(tmp_path):
    folder = saved(trained(made("bert"), target_modules=["query"]), tmp_path)
    other = BertModel(BertConfig(**(SMALL | {"hidden_size": 32}), num_hidden_layers=2))
    name = "encoder.layer.0.attention.self.query.weight"
    with pytest.raises(ValueError, match=r"is \(16, 16\), the weight \(32, 32\).*for a base of other sizes"):
        open_checkpoint(folder, open_checkpoint(other)).update(name)


def test_names_of_an_older_version_are_found(tmp_path):
    base = made("vit")
    folder = saved(trained(base, target_modules=["q_proj"]), tmp_path)
    file = folder / "adapter_model.safetensors"
    older = {
        name.replace("layers.0.attention.q_proj", "encoder.layer.0.attention.attention.query"): value
        for name, value in load_file(file).items()
    }
    expected = open_checkpoint(folder, open_checkpoint(base)).update("layers.0.attention.q_proj.weight")
    assert expected.any()
    save_file(older, file)
    assert not older.keys() & set(load_file(folder / "adapter_model.safetensors")) - older.keys()
    found = open_checkpoint(folder, open_checkpoint(base)).update("layers.0.attention.q_proj.weight")
    assert torch.equal(found, expected)


def test_a_square_layer_of_mere_weights_is_read_where_its_kind_is_sure(tmp_path):
    base = made("gpt2")
    name = "transformer.h.0.attn.c_proj.weight"
    sure = saved(trained(base, target_modules=["c_proj"]), tmp_path / "sure")
    expected = merged(base, sure)[name] - base.get_parameter(name).detach()
    found = open_checkpoint(sure, open_checkpoint(base.state_dict())).update(name)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)
    unsure = saved(trained(base, target_modules=["c_proj", "lm_head"]), tmp_path / "unsure")
    opened = open_checkpoint(unsure, open_checkpoint(base.state_dict()))
    with pytest.raises(ValueError, match=r"it cannot be told which: give the base as a module"):
        opened.update(name)
    expected = merged(base, unsure)["lm_head.weight"] - base.lm_head.weight.detach()
    torch.testing.assert_close(opened.update("lm_head.weight"), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.usefixtures("unchecked_types")  # which read a weight
@pytest.mark.parametrize(
    ("name", "options", "weight", "words"),
    [
        (
            "llama",
            {"target_modules": ["q_proj"], "trainable_token_indices": [1, 3]},
            "model.embed_tokens.weight",
            "not LoRA",
        ),
        (
            "bert",
            {"target_modules": ["query"], "lora_bias": True},
            "bert.encoder.layer.0.attention.self.query.bias",
            "changed by lora_bias",
        ),
    ],
)
def test_what_is_no_scaled_product_is_refused_on_disk_and_around_a_module(
    tmp_path, name, options, weight, words
):
    base = made(name)
    wrapped = trained(base, **options)
    live = open_checkpoint(wrapped)
    with pytest.raises(ValueError, match=words):
        live[weight]
    with pytest.raises(ValueError, match="merge the adapter"):
        open_checkpoint(saved(wrapped, tmp_path), open_checkpoint(base))


def test_adapters_of_transformers_and_the_model_inside_of_one_of_peft_are_opened():
    base = made("llama")
    wrapped = trained(base, target_modules=["q_proj"])
    own = copy.deepcopy(base)
    own.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    own.load_state_dict(wrapped.get_base_model().state_dict())
    name = "model.layers.0.self_attn.q_proj.weight"
    for model in (own, wrapped.get_base_model()):
        torch.testing.assert_close(open_checkpoint(model)[name], open_checkpoint(wrapped)[name])


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mixed, self.out = torch.nn.MultiheadAttention(8, 2), torch.nn.Linear(8, 8)


@pytest.mark.filterwarnings("ignore:All adapters are already merged:UserWarning")  # by the outer layer
def test_an_adapter_of_packed_attention_is_refused_and_the_rest_is_read(tmp_path):
    base = Attention()
    wrapped = trained(base, target_modules=["mixed", "out"])
    live = open_checkpoint(wrapped)
    for name in ("mixed.in_proj_weight", "mixed.out_proj.weight"):
        with pytest.raises(
            ValueError, match=rf"'{name}' has LoRA on nn.MultiheadAttention, .* merge it first"
        ):
            live[name]
    assert torch.equal(live["mixed.out_proj.bias"], base.mixed.out_proj.bias)
    assert not torch.equal(live["out.weight"], base.out.weight)
    with pytest.raises(ValueError, match=r"LoRA on nn.MultiheadAttention \('mixed.out_proj'\), .* merge"):
        open_checkpoint(saved(wrapped, tmp_path), open_checkpoint(base))
    with wrapped.disable_adapter():
        assert torch.equal(open_checkpoint(wrapped)["mixed.in_proj_weight"], base.mixed.in_proj_weight)
    wrapped.merge_adapter()  # which takes both matrices out of the model's parameters
    with pytest.raises(ValueError, match=r"'mixed' has LoRA on nn.MultiheadAttention, .* \(merge_and_unload"):
        open_checkpoint(wrapped)
    assert set(open_checkpoint(wrapped.merge_and_unload())) == set(open_checkpoint(base))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups:UserWarning")
def test_an_adapter_of_a_convolution_with_groups_is_refused(tmp_path, kernel):
    base = torch.nn.Sequential(torch.nn.Conv2d(4, 8, kernel, groups=2))
    wrapped = trained(base, target_modules=["0"])
    with pytest.raises(ValueError, match=r"'0.weight' has LoRA on a convolution with groups"):
        open_checkpoint(wrapped)["0.weight"]
    opened = open_checkpoint(saved(wrapped, tmp_path), open_checkpoint(base))
    with pytest.raises(ValueError, match=r"LoRA on '0', a convolution with groups"):
        opened.update("0.weight")


def test_learned_prompts_are_no_update_of_weights(tmp_path):
    base = made("llama")
    wrapped = get_peft_model(base, PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    with pytest.raises(ValueError, match="has learned prompts"):
        open_checkpoint(wrapped)
    with pytest.raises(ValueError, match=r"PROMPT_TUNING adapter, which .* changes no weight"):
        open_checkpoint(saved(wrapped, tmp_path), open_checkpoint(base))


EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


@pytest.mark.parametrize(
    ("name", "targets", "options"),
    [
        ("mixtral", EXPERTS, {"use_rslora": True}),
        (
            "mixtral",
            EXPERTS[1:],
            {"rank_pattern": {"down_proj": 3}, "alpha_pattern": {"experts.down_proj": 7}},
        ),
        ("mixtral", ["mlp.gate.weight", EXPERTS[0]], {}),
        ("gpt-oss", [EXPERTS[1], EXPERTS[0]], {}),  # stored as (experts, inputs, outputs), and declared so
        ("llama 4", ["experts.gate_up_proj"], {}),  # stored so, and not declared
        ("jetmoe", ["mlp.input_linear.weight"], {}),
    ],
)
def test_adapted_experts_are_those_of_the_merged_model(tmp_path, name, targets, options):
    base = made(name)
    wrapped = trained(base, target_modules=[], target_parameters=targets, **options)
    folder = saved(wrapped, tmp_path / "adapter")
    base.save_pretrained(tmp_path / "base")
    truth, live = merged(base, folder), open_checkpoint(wrapped)
    for opened in (open_checkpoint(base), open_checkpoint(tmp_path / "base")):
        adapted = open_checkpoint(folder, opened)
        for target in targets:
            weight = next(other for other in truth if other.endswith(target))
            assert not torch.equal(truth[weight], base.get_parameter(weight))
            # Sums of at most 4 products in another order, of numbers below 5.
            torch.testing.assert_close(live[weight], truth[weight], rtol=1e-5, atol=2e-6)
            torch.testing.assert_close(adapted[weight], truth[weight], rtol=1e-5, atol=2e-6)
            assert adapted.factor_names(weight) is None or truth[weight].ndim == 2
        if truth[weight].ndim == 3:
            table = rows(base)[f"{weight}[1]"]
            difference = {weight: truth[weight] - base.get_parameter(weight).detach()}
            found = updates(opened, folder, table)
            torch.testing.assert_close(found, table.gather(difference), rtol=1e-5, atol=2e-6)
        untouched = next(
            other for other in truth if other.endswith("q_proj.weight") or "input_linear" in other
        )
        assert adapted.changes(untouched) == (untouched.endswith(targets[0]))


def test_adapted_experts_need_to_know_the_module(tmp_path):
    base = made("mixtral")
    folder = saved(trained(base, target_modules=[], target_parameters=EXPERTS), tmp_path)
    with pytest.raises(ValueError, match=r"single parameters .* give the base as a module"):
        open_checkpoint(folder, open_checkpoint(base.state_dict()))


def test_two_values_of_one_weight_are_refused(tmp_path):
    folder = saved(trained(made("bert"), target_modules=["query"], task_type="SEQ_CLS"), tmp_path)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    head = "base_model.model.classifier.weight"
    save_file(tensors | {head.replace("weight", "modules_to_save.weight"): tensors[head] + 1}, file)
    with pytest.raises(ValueError, match="two of one weight"):
        open_checkpoint(folder, open_checkpoint(made("bert")))


def test_a_folder_of_several_adapters_names_them(tmp_path):
    wrapped = trained(made("bert"), target_modules=["query"])
    wrapped.add_adapter("other", LoraConfig(r=2, target_modules=["key"]))
    wrapped.save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"adapters .*other"):
        open_checkpoint(tmp_path, open_checkpoint(made("bert")))


def test_the_configuration_is_that_of_peft(tmp_path):
    folder = saved(trained(made("bert"), target_modules=["query"]), tmp_path)
    opened = open_checkpoint(folder, open_checkpoint(made("bert")))
    assert opened.config == json.loads((folder / "adapter_config.json").read_text())


def test_an_adapter_that_names_another_base_says_so(tmp_path):
    """Only shapes tell two bases apart, and those of a model and of its instructed sister are the same."""
    BertModel(BERT).save_pretrained(tmp_path / "mine")
    trained = get_peft_model(
        BertModel.from_pretrained(tmp_path / "mine"), LoraConfig(target_modules=["query"])
    )
    trained.save_pretrained(tmp_path / "adapter")
    BertModel(BERT).save_pretrained(tmp_path / "other")
    told = ("the adapter names 'mine' as its base, and is added to 'other'",)
    for base, expected in {"mine": (), "other": told}.items():
        folder = tmp_path / base
        for opened in (folder, folder / "model.safetensors", BertModel.from_pretrained(folder)):
            assert open_checkpoint(tmp_path / "adapter", open_checkpoint(opened)).remarks == expected
    # Neither a base without a name nor an adapter that names none is another one.
    assert open_checkpoint(tmp_path / "adapter", open_checkpoint(BertModel(BERT))).remarks == ()
    get_peft_model(BertModel(BERT), LoraConfig(target_modules=["query"])).save_pretrained(
        tmp_path / "nameless"
    )
    assert open_checkpoint(tmp_path / "nameless", open_checkpoint(tmp_path / "mine")).remarks == ()
