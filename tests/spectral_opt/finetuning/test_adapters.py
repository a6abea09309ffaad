"""What is tuned beside a frozen model is complete, and what stands before the text is no text."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from spectral_opt.finetuning import FineTuneOptions, finetune, plan_shapes, preview
from spectral_opt.sweep import RefinementOptions, make_refinement
from spectral_opt.tasks import load_tokenizer


def options(model: Path, data: Path, task: Any, **more: Any) -> FineTuneOptions:
    steps = {"max_steps": 1, "evaluate_every": 1, "batch_size": 4, "max_length": 16}
    return FineTuneOptions(model=str(model), data=str(data), task=task, **steps, **more)


def test_an_adapter_has_all_weights_that_its_base_lacks(encoder, data, tmp_path):
    base = tmp_path / "base"  # as of a masked language model: no pooler
    AutoModel.from_pretrained(encoder, add_pooling_layer=False).save_pretrained(base)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(base)
    done = finetune(options(base, data / "reviews.csv", "classification", peft="lora"), tmp_path / "out")
    assert (
        "trained and saved whole, since the checkpoint lacks them: bert.pooler.dense"
        in done.record["remarks"]
    )
    assert (
        "AutoPeftModelForSequenceClassification.from_pretrained(FOLDER, num_labels=2)"
        in (done.folder / "README.md").read_text()
    )
    inputs = AutoTokenizer.from_pretrained(done.folder)("the story of a film", return_tensors="pt")
    logits = []
    for seed in (1, 2):  # nothing that is loaded is drawn
        torch.manual_seed(seed)
        model = AutoPeftModelForSequenceClassification.from_pretrained(done.folder, num_labels=2)
        logits.append(model.eval()(**inputs).logits)
    assert torch.equal(*logits)


def test_an_adapter_that_cannot_hold_the_drawn_head_is_refused(encoder, data):
    more = {"peft": "trainable_tokens", "peft_options": {"token_indices": [1]}}
    with pytest.raises(
        ValueError, match=r"such as classifier\.\w+, that an adapter of this kind cannot save"
    ):
        preview(options(encoder, data / "reviews.csv", "classification", **more))


def test_tokens_that_an_adapter_puts_before_a_text_have_no_loss(decoder, data, tmp_path):
    more = {"peft": "prompt_tuning", "peft_options": {"num_virtual_tokens": 3}}
    asked = options(decoder, data / "plain.jsonl", "causal-lm", **more)
    done = finetune(asked, tmp_path / "out")
    assert math.isfinite(done.record["metrics"]["last"]["loss"])


@pytest.mark.parametrize("peft", ["prompt_tuning", "p_tuning", "prefix_tuning"])
def test_tokens_that_an_adapter_puts_before_a_text_take_positions_of_it(decoder, data, tmp_path, peft):
    config = GPT2Config(vocab_size=200, n_embd=16, n_layer=1, n_head=2, n_positions=64, eos_token_id=1)
    model = saved(GPT2LMHeadModel(config), decoder, tmp_path / "gpt2")
    asked = options(
        model, data / "plain.jsonl", "causal-lm", peft=peft, peft_options={"num_virtual_tokens": 8}
    )
    done = finetune(dataclasses.replace(asked, max_length=None), tmp_path / "out")
    assert done.record["config"]["max_length"] == 56
    assert "texts end at 56 tokens, as the adapter puts 8 before them" in done.record["remarks"]


def test_adapter_and_tokenizer_are_of_the_revision_of_the_model(decoder, monkeypatch):
    asked = options("tiny/llama", "hamlet", "causal-lm", peft="lora", revision="v2")
    here = "spectral_opt.finetuning.previewing"
    made = []
    monkeypatch.setattr(f"{here}.open_skeleton", lambda name: AutoModelForCausalLM.from_pretrained(decoder))
    monkeypatch.setattr(f"{here}.adapt", lambda model, config, seed: made.append(config.revision) or model)
    plan_shapes(asked)
    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained", lambda name, revision=None, **given: made.append(revision)
    )
    load_tokenizer("tiny/llama", "v2")
    assert made == ["v2", "v2"]


def test_a_head_of_two_layers_is_tuned_whole(encoder, data, tmp_path):
    base, tokenizer = tmp_path / "base", AutoTokenizer.from_pretrained(encoder)
    sizes = {"dim": 16, "hidden_dim": 16, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 32}
    config = DistilBertConfig(**sizes, vocab_size=len(tokenizer), id2label={0: "bad", 1: "good"})
    DistilBertForSequenceClassification(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    done = finetune(options(base, data / "reviews.csv", "classification", peft="lora"), tmp_path / "out")
    assert {"pre_classifier", "classifier"} <= set(done.record["config"]["peft"]["modules_to_save"])


def test_an_adapter_whose_encoder_is_not_saved_does_not_go_on_as_another_one(decoder, data, tmp_path):
    more = {"peft": "prefix_tuning", "peft_options": {"num_virtual_tokens": 2, "prefix_projection": True}}
    asked = dataclasses.replace(
        options(decoder, data / "plain.jsonl", "causal-lm", **more), max_steps=3, evaluate_every=1
    )

    def end(share: float, what: str) -> None:
        if what.startswith("step 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(asked, tmp_path / "out", advance=end)
    with pytest.raises(ValueError, match="the encoder of prefix_tuning makes and not the encoder"):
        finetune(asked, tmp_path / "out")


def test_an_adapter_of_a_classifier_is_scored_in_batches_also_where_its_base_knows_no_padding(
    decoder, data, tmp_path
):
    done = finetune(options(decoder, data / "reviews.csv", "classification", peft="lora"), tmp_path / "out")
    given = "num_labels=2, pad_token_id=1"  # the end token pads
    assert f"from_pretrained(FOLDER, {given})" in (done.folder / "README.md").read_text()
    model = AutoPeftModelForSequenceClassification.from_pretrained(done.folder, num_labels=2, pad_token_id=1)
    tokenizer, texts = AutoTokenizer.from_pretrained(done.folder), ["the film", "the story of a good film"]
    together = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    torch.testing.assert_close(together, alone)  # float32
    asked = RefinementOptions(str(decoder), str(done.folder), str(data / "plain.jsonl"), texts=8, held_out=12)
    refined = make_refinement(asked)
    assert {refined.module.config.pad_token_id, refined.base.model.config.pad_token_id} == {1}


def saved(model: Any, decoder: Path, folder: Path) -> Path:
    """Save a model with the tokenizer of the decoder."""
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(decoder).save_pretrained(folder)
    return folder


def test_lora_leaves_out_what_the_kernels_of_a_state_space_read_past_its_module(decoder, data, tmp_path):
    tokens = len(AutoTokenizer.from_pretrained(decoder))
    model = MambaForCausalLM(
        MambaConfig(vocab_size=tokens, hidden_size=16, state_size=4, num_hidden_layers=1)
    )
    base = saved(model, decoder, tmp_path / "base")
    done = finetune(options(base, data / "plain.jsonl", "causal-lm", peft="lora"), tmp_path / "out")
    adapted = {name.split(".")[-3] for name in load_file(done.folder / "adapter_model.safetensors")}
    assert adapted == {"in_proj", "x_proj", "dt_proj"}


def test_a_prefix_that_the_attention_does_not_take_is_refused_before_training(decoder, data, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "multi_query": True}
    model = FalconForCausalLM(FalconConfig(vocab_size=len(AutoTokenizer.from_pretrained(decoder)), **sizes))
    base = saved(model, decoder, tmp_path / "base")
    more = {"peft": "prefix_tuning", "peft_options": {"num_virtual_tokens": 2}}
    with pytest.raises(
        ValueError, match="the adapter prefix_tuning does not fit the model: Sizes of tensors"
    ):
        preview(options(base, data / "plain.jsonl", "causal-lm", **more))


def test_a_model_whose_layers_a_method_does_not_know_has_them_named(decoder, data, tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = SmolLM3Config(vocab_size=len(AutoTokenizer.from_pretrained(decoder)), **sizes, **special)
    base = saved(SmolLM3ForCausalLM(config), decoder, tmp_path / "base")
    with pytest.raises(ValueError, match=r"its layers are down_proj, gate_proj, k_proj, lm_head, o_proj"):
        preview(options(base, data / "plain.jsonl", "causal-lm", peft="ia3"))


def test_a_lack_of_memory_is_not_told_as_an_adapter_that_does_not_fit(decoder, data, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr("peft.get_peft_model", full)
    with pytest.raises(torch.OutOfMemoryError, match="no memory"):
        preview(options(decoder, data / "plain.jsonl", "causal-lm", peft="lora"))
