"""Tiny models of whole words as folders, and their words: what names of models and texts are tried on in seconds."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

OPINIONS = (("bad", "poor", "sad"), ("good", "great", "fine"))
FILLER = ("a", "film", "story", "scene", "actor", "plot", "the", "of")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *FILLER, *OPINIONS[0], *OPINIONS[1])
SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def save_word_model(folder: Path) -> Path:
    """Write what `save_pretrained` leaves of a random BERT of width 32 with whole words as tokens."""
    words = _words()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return _saved(folder, BertModel, BertConfig(**SIZES), words, special)


def save_word_llama(folder: Path) -> Path:
    """Write the same of a causal language model of the shape of SmolLM2: grouped queries, tied embeddings."""
    config = LlamaConfig(
        **SIZES,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    return _saved(folder, LlamaForCausalLM, config, _words(), special, longest=512)


def _words() -> Tokenizer:
    words = Tokenizer(WordLevel({word: place for place, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return words


def _saved(
    folder: Path,
    model: type[PreTrainedModel],
    config: BertConfig | LlamaConfig,
    words: Tokenizer,
    special: dict[str, str],
    longest: int = 64,
) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(config).eval().save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=longest, **special).save_pretrained(
        folder
    )
    return folder
