"""A text has no more tokens than the tokenizer allows and the model has positions for, and that is said."""

import copy

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaModel, RobertaConfig, RobertaModel

from paramgraph.inputs import InputOptions
from spectral_opt.errors import ModelError
from spectral_opt.tasks import give_padding, limit_to_positions, open_inputs, usable_length

TINY = {
    "vocab_size": 10,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "intermediate_size": 8,
}


@pytest.fixture
def boundless(tokenizer):
    """The tokenizer as one that states no maximum of its own."""
    known = copy.deepcopy(tokenizer)
    known.model_max_length = int(1e30)
    return known


@pytest.mark.parametrize(
    "model",
    [
        RobertaModel(RobertaConfig(**TINY, max_position_embeddings=18, pad_token_id=1)),
        GPT2LMHeadModel(GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2, n_positions=16)),
        LlamaModel(LlamaConfig(**TINY, max_position_embeddings=16)),
    ],
    ids=["RoBERTa, which keeps two", "GPT-2", "Llama"],
)
def test_the_limit_is_the_longest_text_that_the_model_runs_on(boundless, model):
    limit_to_positions(boundless, model)
    assert boundless.model_max_length == 16
    with torch.no_grad():
        model(torch.full((1, 16), 4))


def test_a_lower_maximum_of_the_tokenizer_stays(tokenizer):
    known = copy.deepcopy(tokenizer)
    limit_to_positions(known, LlamaModel(LlamaConfig(**TINY, max_position_embeddings=4096)))
    assert known.model_max_length == 64


def test_a_model_without_positions_sets_no_limit(boundless):
    limit_to_positions(boundless, nn.Linear(2, 2))
    assert usable_length(boundless, 100) == (100, "")


def test_a_shortened_text_is_said_in_the_notes(tmp_path, boundless):
    config = GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2, n_positions=8)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt")
    boundless.save_pretrained(tmp_path / "gpt")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join(f"{'a ' * (4 + at)}film" for at in range(8)))
    found = open_inputs(str(tmp_path / "gpt"), str(texts), InputOptions(batches=2, batch_size=4))
    assert max(batch["input_ids"].shape[1] for batch in found.batches) == 8
    said = "texts end at 8 tokens, all that the tokenizer and the model allow; 48 were asked for"
    assert {said, "6 of 8 texts were cut at 8 tokens"} <= set(found.notes)


def test_the_end_token_pads_where_nothing_does_and_a_tokenizer_without_both_is_refused(boundless):
    assert give_padding(boundless, "bert") == ""
    boundless.pad_token = None
    with pytest.raises(ModelError, match="'bert' has neither a padding nor an end token"):
        give_padding(boundless, "bert")
    boundless.eos_token = "[SEP]"
    assert "its end token pads" in give_padding(boundless, "bert")
    assert boundless.pad_token == "[SEP]"
