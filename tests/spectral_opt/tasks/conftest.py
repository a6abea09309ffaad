"""Tiny stand-ins for wheels, models and texts; nothing here touches the network or the user's cache."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from spectral_opt.tasks import LabelledText, MeanPooledClassifier, Provenance, Wheel

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "film", "long", "short"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PARAMGRAPH_CACHE", str(folder))
    return folder


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can see: the real pip, without an index."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    return folder


@pytest.fixture
def make_wheel() -> Callable[[Path, Mapping[str, bytes]], Wheel]:
    """Write a wheel that pip accepts into a folder, and return its pin."""

    def make(folder: Path, files: Mapping[str, bytes]) -> Wheel:
        pin = Wheel("tiny-asset", "1.0", "", 0.1, "MIT", "a stand-in")
        info = "tiny_asset-1.0.dist-info"
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        described = {
            **files,
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\n",
            f"{info}/WHEEL": tags.encode(),
            f"{info}/RECORD": b"",
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / pin.filename
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in described.items():
                archive.writestr(name, content)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Wheel("tiny-asset", "1.0", digest, 0.1, "MIT", "a stand-in")

    return make


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Whole words, with [CLS] and [SEP] around them, at most 64 tokens."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )


@pytest.fixture
def encoder() -> BertModel:
    """A random BERT of width 8; global random state is left alone."""
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertModel(config).eval()


@pytest.fixture
def classifier(encoder: BertModel) -> MeanPooledClassifier:
    return MeanPooledClassifier(encoder, 3)


@pytest.fixture
def model_folder(tmp_path: Path, encoder: BertModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """What `save_pretrained` leaves of the tiny encoder."""
    folder = tmp_path / "tiny-bert"
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def toy() -> LabelledText:
    """120 texts of 30 groups, a third of them positive."""
    texts = tuple(f"text {i}" for i in range(120))
    labels = (np.arange(120) % 3 == 0).astype(np.int64)
    groups = tuple(f"film {i // 4}" for i in range(120))
    return LabelledText("toy", texts, labels, ("no", "yes"), Provenance("toy"), groups=groups)
