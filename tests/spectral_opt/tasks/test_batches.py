"""Batches know their order and what was truncated."""

import copy

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from spectral_opt.errors import DataError
from spectral_opt.tasks import tokenize_batches, tokenize_epochs

TEXTS = ["a good film", "bad", "a long long long film", "short", "a bad film"]


def global_numpy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002  (the test is that nobody used it)


def test_a_batch_is_padded_to_its_own_longest_text(tokenizer):
    batches = tokenize_batches(tokenizer, TEXTS, [0, 1, 0, 1, 1], batch_size=2)
    assert [tuple(batch["input_ids"].shape) for batch in batches] == [(2, 5), (2, 7), (1, 5)]
    assert batches[0]["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert torch.cat([batch["labels"] for batch in batches]).tolist() == [0, 1, 0, 1, 1]
    assert all(value.dtype == torch.int64 for batch in batches for value in batch.values())


def test_truncated_texts_are_counted(tokenizer):
    batches = tokenize_batches(tokenizer, TEXTS, max_length=5)
    assert batches.truncated == 1
    assert batches[0]["input_ids"].shape[1] == 5
    assert tokenize_batches(tokenizer, TEXTS, max_length=16).truncated == 0


@pytest.mark.parametrize("order", ["given", "length", "shuffled"])
def test_rows_return_to_the_order_of_the_texts(tokenizer, order):
    batches = tokenize_batches(tokenizer, TEXTS, range(5), batch_size=2, order=order, seed=3)
    labels = torch.cat([batch["labels"] for batch in batches])
    assert labels.tolist() == list(batches.order)
    assert batches.restore(labels).tolist() == [0, 1, 2, 3, 4]
    assert batches.restore(labels[:, None].float()).shape == (5, 1)


def test_sorting_by_length_is_stable(tokenizer):
    assert tokenize_batches(tokenizer, TEXTS, order="length").order == (1, 3, 0, 4, 2)


def test_the_shuffle_depends_on_the_seed_alone(tokenizer):
    torch.manual_seed(0)
    first = tokenize_batches(tokenizer, TEXTS * 4, order="shuffled", seed=1).order
    torch.manual_seed(1)
    assert tokenize_batches(tokenizer, TEXTS * 4, order="shuffled", seed=1).order == first
    assert tokenize_batches(tokenizer, TEXTS * 4, order="shuffled", seed=2).order != first


def test_no_global_generator_moves(tokenizer):
    # Python's own generator is left out: beartype draws from it, in the tests alone.
    states = torch.get_rng_state(), global_numpy_state()
    tokenize_batches(tokenizer, TEXTS, order="shuffled")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(global_numpy_state(), states[1])


def test_without_labels_a_batch_has_none(tokenizer):
    assert "labels" not in tokenize_batches(tokenizer, TEXTS)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texts": []}, "no texts"),
        ({"labels": [1]}, "1 labels for 5 texts"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_length": 2}, "allows 3 to 64"),
        ({"max_length": 65}, "allows 3 to 64"),
        ({"order": "sorted"}, "allowed are given, length, shuffled"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_arguments_are_named(tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        tokenize_batches(tokenizer, **{"texts": TEXTS, **options})


def test_a_tokenizer_without_padding_is_refused(tokenizer):
    without = copy.deepcopy(tokenizer)
    without.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        tokenize_batches(without, TEXTS)


def test_a_wrong_number_of_rows_cannot_be_restored(tokenizer):
    with pytest.raises(ValueError, match="2 rows for 5 texts"):
        tokenize_batches(tokenizer, TEXTS).restore(torch.zeros(2, 3))


def test_a_text_without_a_token_is_named():
    words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "word": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    with pytest.raises(DataError, match=r"1 of 2 texts have no tokens, the first is number 2, ' '"):
        tokenize_batches(tokenizer, ["word", " "])


def test_epochs_have_every_text_once_in_an_order_of_the_seed(tokenizer):
    texts = ["good", "bad", "film", "long", "short"]
    batches = tokenize_epochs(tokenizer, texts, [0, 1, 2, 3, 4], steps=4, batch_size=3, seed=1)
    labels = torch.cat([batch["labels"] for batch in batches]).tolist()
    assert len(batches) == 4
    assert [sorted(labels[:5]), sorted(labels[5:10]), len(labels)] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], 12]
    assert labels[:5] != labels[5:10]
    words = torch.cat([batch["input_ids"][:, 1] for batch in batches]).tolist()
    assert words == [tokenizer.convert_tokens_to_ids(texts[label]) for label in labels]
    again = tokenize_epochs(tokenizer, texts, [0, 1, 2, 3, 4], steps=4, batch_size=3, seed=2)
    assert torch.cat([batch["labels"] for batch in again]).tolist() != labels


@pytest.mark.parametrize(("texts", "labels", "steps"), [(["bad"], [0, 1], 1), ([], [], 1), (["bad"], [0], 0)])
def test_epochs_of_nothing_are_refused(tokenizer, texts, labels, steps):
    with pytest.raises(ValueError, match="texts"):
        tokenize_epochs(tokenizer, texts, labels, steps=steps)
