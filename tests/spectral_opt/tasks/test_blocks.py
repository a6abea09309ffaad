"""Blocks hold the tokens of their texts, one after the other, and what is left out is counted."""

import copy

import pytest
import torch

from spectral_opt.errors import DataError
from spectral_opt.tasks import token_blocks

# [CLS] = 2 and [SEP] = 3 stand around each text; the tokenizer has no end token unless a test gives it one.
TEXTS = ["a good film", "bad", "a long long long film"]
TOKENS = [[2, 4, 5, 7, 3], [2, 6, 3], [2, 4, 8, 8, 8, 7, 3]]


@pytest.fixture
def own_tokenizer(tokenizer):
    """Tests may change its special tokens."""
    return copy.deepcopy(tokenizer)


def test_each_text_is_cut_by_itself_and_tails_are_dropped(tokenizer):
    blocks = token_blocks(tokenizer, TEXTS, length=4)
    assert blocks.input_ids.tolist() == [TOKENS[0][:4], TOKENS[2][:4]]
    assert torch.equal(blocks.labels, blocks.input_ids)
    assert blocks.attention_mask.all()
    assert (blocks.starts, blocks.tokens_used, blocks.tokens_dropped, blocks.texts_dropped) == (
        (0, 2),
        8,
        7,
        1,
    )


def test_padded_tails_keep_every_token_but_a_lonely_one(tokenizer):
    blocks = token_blocks(tokenizer, TEXTS, length=4, tail="pad")
    rows = [
        row[mask.bool()].tolist() for row, mask in zip(blocks.input_ids, blocks.attention_mask, strict=True)
    ]
    assert rows == [TOKENS[0][:4], TOKENS[1], TOKENS[2][:4], TOKENS[2][4:]]
    assert blocks.labels[1].tolist() == [*TOKENS[1], -100]
    assert (blocks.tokens_used, blocks.tokens_dropped, blocks.texts_dropped) == (14, 1, 0)


def test_a_padding_token_that_also_ends_texts_keeps_its_label_there(own_tokenizer):
    own_tokenizer.pad_token = "[SEP]"
    blocks = token_blocks(own_tokenizer, ["bad"], length=4, tail="pad")
    assert blocks.labels.tolist() == [[2, 6, 3, -100]]


def test_blocks_across_texts_are_the_closed_texts_one_after_the_other(own_tokenizer):
    own_tokenizer.eos_token = "film"  # 7: none of the texts has it at its end
    blocks = token_blocks(own_tokenizer, TEXTS, length=4, across=True)
    joined = [token for text in TOKENS for token in [*text, 7]]
    assert blocks.input_ids.flatten().tolist() == joined[:16]
    assert blocks.starts == (0, 0, 1, 2)
    assert (blocks.tokens_used, blocks.tokens_dropped, blocks.texts_dropped) == (16, 2, 0)


def test_an_end_token_that_the_tokenizer_adds_is_not_doubled(own_tokenizer):
    own_tokenizer.eos_token = "[SEP]"
    blocks = token_blocks(own_tokenizer, TEXTS, length=15, across=True)
    assert blocks.input_ids.flatten().tolist() == [token for text in TOKENS for token in text]


def test_texts_that_lie_in_the_dropped_end_are_counted(tokenizer):
    blocks = token_blocks(tokenizer, ["a long long long film", "bad"], length=7, across=True)
    assert (len(blocks), blocks.tokens_dropped, blocks.texts_dropped) == (1, 3, 1)


def test_batches_are_the_blocks_in_their_order(tokenizer):
    blocks = token_blocks(tokenizer, TEXTS, length=4, tail="pad")
    batches = blocks.batches(3)
    assert [len(batch["labels"]) for batch in batches] == [3, 1]
    assert torch.equal(torch.cat([batch["input_ids"] for batch in batches]), blocks.input_ids)
    assert torch.equal(blocks[3]["labels"], batches[1]["labels"][0])
    with pytest.raises(ValueError, match="batch_size is 0"):
        blocks.batches(0)


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        ([], {}, ValueError, "no texts"),
        (TEXTS, {"length": 1}, ValueError, "length is 1: this tokenizer allows 2 to 64"),
        (TEXTS, {"length": 65}, ValueError, "length is 65"),
        (
            ["bad"],
            {"length": 4},
            DataError,
            r"none of 1 texts fills a block of 4 tokens, and the longest has 3",
        ),
        (
            ["bad", "bad"],
            {"length": 8, "across": True},
            DataError,
            r"2 texts have 6 tokens together, and a block takes 8: give more text, or take a smaller length$",
        ),
    ],
)
def test_mistakes_are_named(tokenizer, texts, options, error, message):
    with pytest.raises(error, match=message):
        token_blocks(tokenizer, texts, **options)


def test_padding_needs_a_token(own_tokenizer):
    own_tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        token_blocks(own_tokenizer, TEXTS, length=4, tail="pad")
    assert len(token_blocks(own_tokenizer, TEXTS, length=4)) == 2
