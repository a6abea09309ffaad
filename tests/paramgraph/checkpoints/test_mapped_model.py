"""Models whose weights stay in their files: they are what `from_pretrained` loads, or are refused before they run."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from paramgraph.checkpoints import open_mapped, open_module
from paramgraph.mapped_memory import MappedMemory

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TOKENS = {"input_ids": torch.arange(1, 13).reshape(2, 6)}


def saved(folder, config=None, dtype=torch.float32, **options):
    config = config or LlamaConfig(**SMALL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, config.architectures[0])(config) if config.architectures else None
        model = model or LlamaForCausalLM(config)
    model.to(dtype).save_pretrained(folder, **options)
    return folder


@pytest.mark.parametrize(
    ("config", "dtype", "options"),
    [
        (LlamaConfig(**SMALL, tie_word_embeddings=True), torch.float32, {"max_shard_size": "8KB"}),
        (LlamaConfig(**SMALL), torch.bfloat16, {}),
        (
            transformers.GPT2Config(
                vocab_size=40, n_embd=16, n_layer=2, n_head=2, architectures=["GPT2LMHeadModel"]
            ),
            torch.float32,
            {},
        ),
        (
            transformers.MixtralConfig(**SMALL, num_local_experts=3, architectures=["MixtralForCausalLM"]),
            torch.float32,
            {},
        ),
    ],
    ids=["sharded and tied", "bfloat16", "transposed", "merged experts"],
)
def test_a_mapped_model_is_the_one_that_is_loaded(tmp_path, config, dtype, options):
    folder = saved(tmp_path, config, dtype, **options)
    memory = MappedMemory()
    mapped = open_mapped(folder, memory)
    loaded = type(mapped).from_pretrained(folder, dtype="auto").eval()
    ours, theirs = open_module(mapped), open_module(loaded)
    assert {name: ours.names_of(name) for name in ours} == {name: theirs.names_of(name) for name in theirs}
    assert all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in ours
    )
    with torch.no_grad():
        # The same products; where matrices lie may decide in which order their terms are added.
        torch.testing.assert_close(mapped(**TOKENS).logits, loaded(**TOKENS).logits, rtol=1e-5, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in mapped.parameters())
    assert not mapped.training
    merged = [name for name in ours if "experts" in name]
    assert memory.size == sum(
        ours[name].nbytes for name in merged
    )  # all else lies in the files of the folder


def test_weights_of_another_type_than_described_are_cast_once(tmp_path):
    described = json.loads((saved(tmp_path) / "config.json").read_text()) | {"dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(described))
    memory = MappedMemory()
    mapped = open_mapped(tmp_path, memory)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert memory.size == sum(value.nbytes for value in loaded.parameters())
    assert all(map(torch.equal, mapped.parameters(), loaded.parameters()))


def test_what_is_kept_wide_in_half_precision_stays_so(tmp_path):
    config = transformers.T5Config(
        vocab_size=40,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=1,
        num_heads=2,
        architectures=["T5ForConditionalGeneration"],
    )
    transformers.T5ForConditionalGeneration.from_pretrained(
        saved(tmp_path / "half", config, torch.float16), dtype="auto"
    ).save_pretrained(tmp_path / "saved")
    mapped = open_mapped(tmp_path / "saved", MappedMemory())
    loaded = type(mapped).from_pretrained(tmp_path / "saved", dtype="auto")
    theirs = dict(loaded.named_parameters())
    assert {value.dtype for value in theirs.values()} == {torch.float16, torch.float32}
    for name, value in mapped.named_parameters():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name])


def test_a_type_that_is_not_described_is_that_of_the_first_weight(tmp_path):
    file = saved(tmp_path) / "model.safetensors"
    tensors = {name: value.bfloat16() for name, value in load_file(file).items()}
    tensors["lm_head.weight"] = tensors[
        "lm_head.weight"
    ].float()  # first in the file, and not the most frequent
    save_file(tensors, file, {"format": "pt"})
    described = json.loads((tmp_path / "config.json").read_text())
    del described["dtype"]
    (tmp_path / "config.json").write_text(json.dumps(described))
    loaded = LlamaForCausalLM.from_pretrained(tmp_path, dtype="auto")
    mapped = open_mapped(tmp_path, MappedMemory())
    assert mapped.dtype == loaded.dtype == torch.float32


def test_global_random_state_is_left_alone(tmp_path):
    saved(tmp_path)
    before = torch.get_rng_state()
    open_mapped(tmp_path, MappedMemory())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_does_not_fit_its_description_is_refused(tmp_path):
    file = saved(tmp_path) / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks the weights model\.norm\.weight.*drawn at random"):
        open_mapped(tmp_path, MappedMemory())
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(described | {"intermediate_size": 24}))
    save_file(tensors | {"model.norm.weight": torch.ones(16)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"another config: '.*mlp.*' has the shape \(32, 16\).* \(24, 16\)"):
        open_mapped(tmp_path, MappedMemory())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architectures": None}, "architectures None"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}},
            "code that comes with a model is not run",
        ),
    ],
)
def test_a_model_of_no_known_class_is_refused(tmp_path, change, told):
    described = json.loads((saved(tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(described | change))
    with pytest.raises(ValueError, match=told):
        open_mapped(tmp_path, MappedMemory())
