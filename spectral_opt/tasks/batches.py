"""Texts as padded batches of token numbers, with nothing truncated in silence."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from spectral_opt.errors import DataError
from spectral_opt.tasks.tokenizers import check_length

Order = Literal["given", "length", "shuffled"]


class TokenizedBatches(list[dict[str, Tensor]]):
    """A list of batches, ready for `model(**batch)`, that knows where each row came from.

    A batch has `input_ids` and `attention_mask` of shape (texts, tokens), more where the tokenizer gives
    more, and `labels` of shape (texts,) where there are labels. `order` has for each row, in the order of the
    batches, its position in the given texts; `truncated` is the number of texts that lost their end.
    """

    def __init__(self, batches: Sequence[Mapping[str, Tensor]], order: Sequence[int], truncated: int) -> None:
        super().__init__(dict(batch) for batch in batches)
        self.order = tuple(order)
        self.truncated = truncated

    def restore(self, rows: Shaped[Tensor, "texts ..."]) -> Shaped[Tensor, "texts ..."]:
        """Copy results, one row per text in the order of the batches, into the order of the given texts.

        Another number of rows raises ValueError.
        """
        if len(rows) != len(self.order):
            raise ValueError(f"{len(rows)} rows for {len(self.order)} texts: give one row per text")
        return rows[torch.from_numpy(np.argsort(self.order)).to(rows.device)]


def tokenize_batches(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    batch_size: int = 16,
    max_length: int = 64,
    order: Order = "given",
    seed: int = 0,
) -> TokenizedBatches:
    """Tokenize texts and pad each batch to its own longest text.

    Texts of more than `max_length` tokens, special tokens included, are cut and counted in `truncated`. The
    order "length" sorts by number of tokens, which saves padding in evaluation; "shuffled" permutes by
    `seed`, never by the global generator. No text, a text without a token, another number of labels than of
    texts, a limit that the tokenizer does not allow, or a tokenizer without a padding token raises ValueError.
    Every text is tokenized twice, once to count its tokens: about 0.1 s per thousand short texts.

    >>> from spectral_opt.tasks import load_model
    >>> batches = tokenize_batches(load_model().tokenizer, ["short", "a longer text"])
    >>> batches[0]["input_ids"].shape, batches.truncated
    (torch.Size([2, 5]), 0)
    """
    _check(tokenizer, texts, labels, batch_size, max_length, order)
    texts = list(texts)
    tokens = tokenizer(texts, truncation=False, add_special_tokens=True, verbose=False)["input_ids"]
    lengths = np.array([len(row) for row in tokens])
    if not lengths.all():
        first = int(np.flatnonzero(lengths == 0)[0])
        raise DataError(
            f"{int((lengths == 0).sum())} of {len(texts)} texts have no tokens, the first is number {first + 1}, "
            f"{texts[first][:40]!r}: leave them out"
        )
    positions = np.arange(len(texts))
    if order == "length":
        # stable: equal lengths keep the given order, so that two runs make the same batches.
        positions = np.argsort(lengths, kind="stable")
    elif order == "shuffled":
        positions = np.random.default_rng(seed).permutation(len(texts))
    batches = []
    for start in range(0, len(texts), batch_size):
        chosen = positions[start : start + batch_size]
        batch = dict(
            tokenizer(
                [texts[i] for i in chosen],
                padding=True,
                truncation=True,
                max_length=max_length,
                return_tensors="pt",
            )
        )
        if labels is not None:
            batch["labels"] = torch.tensor([int(labels[i]) for i in chosen], dtype=torch.int64)
        batches.append(batch)
    return TokenizedBatches(batches, positions.tolist(), int((lengths > max_length).sum()))


def tokenize_epochs(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int] | Int[np.ndarray, " texts"],
    *,
    steps: int,
    batch_size: int = 16,
    max_length: int = 64,
    seed: int = 0,
) -> TokenizedBatches:
    """Make one batch for each step: all texts in an order of `seed`, then all in another, until there are enough.

    A batch may hold the end of an epoch and the start of the next. The positions in `order` are those among the texts
    as they were drawn. Errors are those of `tokenize_batches`.
    """
    if len(labels) != len(texts):
        raise ValueError(f"{len(labels)} labels for {len(texts)} texts: give one label per text")
    drawn = epoch_order(len(texts), steps * batch_size, seed)
    return tokenize_batches(
        tokenizer,
        [texts[at] for at in drawn],
        [int(labels[at]) for at in drawn],
        batch_size=batch_size,
        max_length=max_length,
    )


def epoch_order(count: int, wanted: int, seed: int) -> list[int]:
    """Draw places of `count` rows: all in an order of `seed`, then all in another, until there are as many as wanted.

    Of no row none is drawn.
    """
    generator = np.random.default_rng(seed)
    drawn: list[int] = []
    while count and len(drawn) < wanted:
        drawn.extend(generator.permutation(count).tolist())
    return drawn[:wanted]


def _check(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray | None,
    batch_size: int,
    max_length: int,
    order: str,
) -> None:
    if len(texts) == 0:
        raise ValueError("no texts to tokenize: give at least one")
    if labels is not None and len(labels) != len(texts):
        raise ValueError(f"{len(labels)} labels for {len(texts)} texts: give one label per text")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
    # Special tokens alone fill the shortest sequences; a model's positions end at its own limit.
    check_length(tokenizer, "max_length", max_length, tokenizer.num_special_tokens_to_add() + 1)
    if order not in get_args(Order):
        raise ValueError(f"order is {order!r}: allowed are {', '.join(get_args(Order))}")
    if tokenizer.pad_token is None:
        raise ValueError(
            "the tokenizer has no padding token: set tokenizer.pad_token, for instance to its eos_token"
        )
