"""A tiny model of whole words as a folder, and its words: what names of models and texts are tried on in seconds."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

OPINIONS = (("bad", "poor", "sad"), ("good", "great", "fine"))
FILLER = ("a", "film", "story", "scene", "actor", "plot", "the", "of")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *FILLER, *OPINIONS[0], *OPINIONS[1])


def save_word_model(folder: Path) -> Path:
    """Write what `save_pretrained` leaves of a random BERT of width 32 with whole words as tokens."""
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).eval().save_pretrained(folder)
    words = Tokenizer(WordLevel({word: place for place, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=64, **special).save_pretrained(folder)
    return folder
