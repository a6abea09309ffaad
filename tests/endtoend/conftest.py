"""A tiny model and invented opinions: the whole way in seconds."""

import csv
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

OPINIONS = (("bad", "poor", "sad"), ("good", "great", "fine"))
FILLER = ("a", "film", "story", "scene", "actor", "plot", "the", "of")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *FILLER, *OPINIONS[0], *OPINIONS[1])


@pytest.fixture(scope="session")
def word_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `save_pretrained` leaves of a random BERT of width 32 with whole words as tokens."""
    folder = tmp_path_factory.mktemp("models") / "word-bert"
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


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Labelled sentences whose opinion stands in three of nine words, and unlabelled ones of the same words."""
    folder, generator = tmp_path_factory.mktemp("texts"), random.Random(0)
    paths = {name: folder / f"{name}.csv" for name in ("labelled", "preserve", "retention")}
    with paths["labelled"].open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        seen: set[str] = set()
        while len(seen) < 600:
            label = len(seen) % 2
            words = [*generator.choices(FILLER, k=6), *generator.choices(OPINIONS[label], k=3)]
            generator.shuffle(words)
            if (text := " ".join(words)) not in seen:
                seen.add(text)
                writer.writerow((text, ("negative", "positive")[label]))
    for name in ("preserve", "retention"):
        rows = {" ".join(generator.choices(VOCABULARY[4:], k=8)) for _ in range(200)}
        paths[name].write_text("text\n" + "\n".join(sorted(rows)) + "\n")
    return paths
