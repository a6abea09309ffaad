"""Texts as padded batches of token numbers, with nothing truncated in silence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from transformers import PreTrainedTokenizerBase

ORDERS = ("given", "length", "shuffled")


class TokenizedBatches(list[dict[str, Tensor]]):
    """Hold a list of batches, ready for `model(**batch)`, and know where each row came from.

    Parameters
    ----------
    batches : sequence of dict of str to Tensor
        `input_ids` and `attention_mask` of shape (texts, tokens), more where the tokenizer gives more, and
        `labels` of shape (texts,) where there are labels.
    order : sequence of int
        Position in the given texts of each row, in the order of the batches.
    truncated : int
        Number of texts that were longer than the limit and lost their end.
    """

    def __init__(self, batches: Sequence[Mapping[str, Any]], order: Sequence[int], truncated: int) -> None:
        super().__init__(dict(batch) for batch in batches)
        self.order = tuple(order)
        self.truncated = truncated

    def restore(self, rows: Shaped[Tensor, "texts ..."]) -> Shaped[Tensor, "texts ..."]:
        """Return results, one row per text in the order of the batches, in the order of the given texts.

        Parameters
        ----------
        rows : Tensor of shape (texts, ...)
            For instance the concatenated embeddings of all batches.

        Returns
        -------
        Tensor of shape (texts, ...)
            A copy with the rows moved.

        Raises
        ------
        ValueError
            If the number of rows is not the number of texts.
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
    order: str = "given",
    seed: int = 0,
) -> TokenizedBatches:
    """Tokenize texts and pad each batch to its own longest text.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With a padding token.
    texts : sequence of str
        At least one.
    labels : sequence of int or None, default None
        One class number per text.
    batch_size : int, default 16
        Texts per batch; the last batch may be smaller.
    max_length : int, default 64
        Limit in tokens, special tokens included; longer texts are cut and counted in `truncated`.
    order : {"given", "length", "shuffled"}, default "given"
        "length" sorts by number of tokens, which saves padding in evaluation; "shuffled" permutes by `seed`.
    seed : int, default 0
        For "shuffled"; a generator of its own, never the global one.

    Returns
    -------
    TokenizedBatches
        A list of dictionaries of int64 tensors, with `.order`, `.truncated` and `.restore`.

    Raises
    ------
    ValueError
        If there is no text, labels and texts differ in number, or a limit or the order is not allowed.

    Notes
    -----
    Every text is tokenized twice, once to count its tokens: about 0.1 s per thousand short texts.

    Examples
    --------
    >>> from spectral_opt.tasks import load_model
    >>> batches = tokenize_batches(load_model().tokenizer, ["short", "a longer text"])
    >>> batches[0]["input_ids"].shape, batches.truncated
    (torch.Size([2, 5]), 0)
    """
    _check(tokenizer, texts, labels, batch_size, max_length, order)
    texts = list(texts)
    tokens = tokenizer(texts, truncation=False, add_special_tokens=True, verbose=False)["input_ids"]
    lengths = np.array([len(row) for row in tokens])
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
    shortest = tokenizer.num_special_tokens_to_add() + 1
    if not shortest <= max_length <= tokenizer.model_max_length:
        raise ValueError(
            f"max_length is {max_length}: this tokenizer allows {shortest} to {tokenizer.model_max_length}"
        )
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}: allowed are {', '.join(ORDERS)}")
    if tokenizer.pad_token is None:
        raise ValueError(
            "the tokenizer has no padding token: set tokenizer.pad_token, for instance to its eos_token"
        )
