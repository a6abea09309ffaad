"""Tiny models and invented texts for runs of seconds."""

import json
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from spectral_opt.finetuning import FineTuneOptions, finetune

from helpers.word_models import FILLER, OPINIONS, save_word_model

# As many as there are numbers among the words, so that no two texts are the same.
TEXTS = 40
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of whole words, with dropout."""
    return save_word_model(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of the shape of SmolLM2, with dropout, a chat template and no padding token."""
    folder = tmp_path_factory.mktemp("decoder") / "llama"
    special = ["[UNK]", "</s>", "<user>", "<assistant>"]
    words = [*special, *FILLER, *OPINIONS[0], *OPINIONS[1], *map(str, range(TEXTS))]
    model = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model, model_max_length=64, unk_token="[UNK]", eos_token="</s>"
    )
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        attention_dropout=0.1,
        bos_token_id=1,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _texts() -> list[tuple[str, str]]:
    generator = random.Random(0)
    found = []
    for number in range(TEXTS):
        label = generator.randrange(2)
        words = [generator.choice(FILLER) for _ in range(generator.randrange(4, 9))]
        found.append(
            (f"{' '.join(words)} {generator.choice(OPINIONS[label])} {number}", ("bad", "good")[label])
        )
    return found


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of texts: reviews.csv with labels, plain.jsonl, chat.jsonl, and other.txt to be preserved."""
    folder = tmp_path_factory.mktemp("data")
    texts = _texts()
    (folder / "reviews.csv").write_text(
        "text,label\n" + "\n".join(f"{text},{label}" for text, label in texts)
    )
    (folder / "plain.jsonl").write_text("\n".join(json.dumps({"text": text}) for text, _ in texts))
    chats = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]}
        for text, label in texts
    ]
    (folder / "chat.jsonl").write_text("\n".join(map(json.dumps, chats)))
    (folder / "other.txt").write_text("\n\n".join(f"the story of the {word}" for word in FILLER))
    return folder


@pytest.fixture(scope="session")
def finished_options(decoder: Path, data: Path) -> FineTuneOptions:
    """The options of the finished run: one step on plain text."""
    return FineTuneOptions(
        model=str(decoder),
        data=str(data / "plain.jsonl"),
        task="causal-lm",
        max_steps=1,
        evaluate_every=1,
        max_length=16,
    )


@pytest.fixture(scope="session")
def finished_folder(finished_options: FineTuneOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one step on plain text, which tests must leave as it is."""
    return finetune(finished_options, tmp_path_factory.mktemp("finished") / "out").folder
