"""Fixtures that every test may use: a seeded generator, a tiny transformer and batches for it."""

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def tiny_transformer() -> BertForSequenceClassification:
    """A random BERT small enough for a gradient in milliseconds; global random state is left alone."""
    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        num_labels=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertForSequenceClassification(config).eval()


@pytest.fixture
def tiny_batches() -> list[dict[str, Tensor]]:
    """Six batches of 4 texts of 12 tokens, padded on the right, with labels."""
    source = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(6):
        lengths = torch.randint(5, 13, (4, 1), generator=source)
        mask = (torch.arange(12) < lengths).long()
        tokens = torch.randint(1, 100, (4, 12), generator=source) * mask
        labels = torch.randint(0, 2, (4,), generator=source)
        batches.append({"input_ids": tokens, "attention_mask": mask, "labels": labels})
    return batches
