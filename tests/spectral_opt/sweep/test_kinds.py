"""What kind of model a fine-tune is taken for."""

import json

import pytest
import torch
from safetensors.torch import save_file

from spectral_opt.errors import ModelError
from spectral_opt.sweep import kind_of


def described(folder, **fields):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    save_file({"weight": torch.ones(1)}, folder / "model.safetensors")
    return folder


def adapter(folder, task):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "task_type": task}))
    return folder


@pytest.mark.parametrize(
    ("model_type", "architecture", "kind"),
    [
        ("llama", "LlamaForCausalLM", "causal"),
        ("gpt2", "GPT2LMHeadModel", "causal"),
        ("bert", "BertForSequenceClassification", "classifier"),
        ("bert", "BertModel", "encoder"),
        ("bert", "BertForMaskedLM", "encoder"),
    ],
)
def test_an_adapter_that_does_not_say_its_kind_is_of_that_of_its_base(
    tmp_path, model_type, architecture, kind
):
    base = described(tmp_path / "base", model_type=model_type, architectures=[architecture])
    assert kind_of(adapter(tmp_path / "adapter", None), base)[0] == kind


@pytest.mark.parametrize(
    ("task", "kind"),
    [("CAUSAL_LM", "causal"), ("SEQ_CLS", "classifier"), ("FEATURE_EXTRACTION", "encoder")],
)
def test_an_adapter_that_says_its_kind_is_of_that(tmp_path, task, kind):
    base = described(tmp_path / "base", model_type="bert", architectures=["BertForMaskedLM"])
    assert kind_of(adapter(tmp_path / "adapter", task), base)[0] == kind


@pytest.mark.parametrize("task", ["TOKEN_CLS", "SEQ_2_SEQ_LM", "QUESTION_ANS"])
def test_an_adapter_of_another_kind_is_refused(tmp_path, task):
    base = described(tmp_path / "base", model_type="bert", architectures=["BertModel"])
    with pytest.raises(ModelError, match=f"is an adapter of task_type '{task}': .*use spectral_opt.refine"):
        kind_of(adapter(tmp_path / "adapter", task), base)


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [("bert", "BertForTokenClassification"), ("t5", "T5ForConditionalGeneration")],
)
def test_a_model_or_the_base_of_an_adapter_of_another_kind_is_refused(tmp_path, model_type, architecture):
    base = described(tmp_path / "base", model_type=model_type, architectures=[architecture])
    for tuned in (base, adapter(tmp_path / "adapter", None)):
        with pytest.raises(ModelError, match=f"base is a {architecture}: encoders"):
            kind_of(tuned, base)
