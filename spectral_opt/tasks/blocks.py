"""Texts as blocks of token numbers for causal language models, with what becomes of their ends stated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from spectral_opt.errors import DataError
from spectral_opt.tasks.tokenizers import check_length

# What becomes of the tokens at the end of a text that do not fill a block.
Tail = Literal["drop", "pad"]
# What torch's cross-entropy leaves out.
NO_LABEL = -100


@dataclass(frozen=True)
class TokenBlocks:
    """Blocks of equal length, which one by one or in batches are inputs of a causal language model.

    `input_ids`, `attention_mask` and `labels` have the shape (blocks, length); the label of padding is -100, and each
    model shifts labels itself. `starts` has for each block the position of the text that it begins in. `tokens_used`
    and `tokens_dropped` are together all tokens of the texts; of `texts_dropped` of them none is in a block.
    """

    input_ids: Int64[Tensor, "blocks length"]
    attention_mask: Int64[Tensor, "blocks length"]
    labels: Int64[Tensor, "blocks length"]
    starts: tuple[int, ...]
    tokens_used: int
    tokens_dropped: int
    texts_dropped: int

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, place: int | slice) -> dict[str, Tensor]:
        names = ("input_ids", "attention_mask", "labels")
        return {name: getattr(self, name)[place] for name in names}

    def batches(self, batch_size: int) -> list[dict[str, Tensor]]:
        """Cut into batches in the given order; the last may be smaller."""
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
        return [self[first : first + batch_size] for first in range(0, len(self), batch_size)]


def token_blocks(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    length: int = 128,
    tail: Tail = "drop",
    across: bool = False,
) -> TokenBlocks:
    """Cut the tokens of texts into blocks of `length`, in the given order, special tokens included.

    Each text is cut by itself: no block has tokens of two. What does not fill its last block is dropped, and counted,
    or with `tail="pad"` padded on the right; a rest of one token predicts nothing and is always dropped. With `across`
    the texts stand one after the other, each closed by the end token, blocks run from one into the next and attention
    with them, and only the end of the last text is a tail. No text, a length that the tokenizer does not allow, or
    padding without a token for it raises ValueError; DataError, if no text gives a block.

    >>> from spectral_opt.tasks import load_model
    >>> blocks = token_blocks(load_model().tokenizer, ["one two three four", "five"], length=4)
    >>> blocks.input_ids.shape, blocks.tokens_dropped, blocks.texts_dropped
    (torch.Size([1, 4]), 5, 1)
    """
    if len(texts) == 0:
        raise ValueError("no texts to cut into blocks: give at least one")
    if tail not in get_args(Tail):
        raise ValueError(f"tail is {tail!r}: allowed are {', '.join(get_args(Tail))}")
    check_length(tokenizer, "length", length, 2)
    if tail == "pad" and tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer has no padding token: set tokenizer.pad_token, or take tail='drop'")
    tokens: list[list[int]] = tokenizer(list(texts), add_special_tokens=True, verbose=False)["input_ids"]
    if across:
        tokens = _closed(tokenizer, tokens)
    stretches = [[token for text in tokens for token in text]] if across else tokens
    shortest = 2 if tail == "pad" else length
    rows: list[list[int]] = []
    places: list[tuple[int, int]] = []  # of each block: the stretch, and the first token there
    for at, stretch in enumerate(stretches):
        for first in range(0, len(stretch) - shortest + 1, length):
            rows.append(stretch[first : first + length])
            places.append((at, first))
    lengths = torch.tensor([len(row) for row in rows])
    if not rows:
        if across:
            few = f"{len(texts)} texts have {len(stretches[0])} tokens together, and a block takes {shortest}"
            raise DataError(f"{few}: give more text, or take a smaller length")
        advice = "take a smaller length, tail='pad' or across=True" if tail == "drop" else "give longer texts"
        raise DataError(
            f"none of {len(texts)} texts fills a block of {shortest} tokens, and the longest has "
            f"{max(map(len, tokens))}: {advice}"
        )
    used = int(lengths.sum())
    ends = np.cumsum([len(text) for text in tokens])
    if across:
        starts = np.searchsorted(ends, [first for _, first in places], side="right").tolist()
        lost = int((ends - [len(text) for text in tokens] >= used).sum())
    else:
        starts = [at for at, _ in places]
        lost = len(texts) - len(set(starts))
    mask = (torch.arange(length) < lengths[:, None]).long()
    # Where tails are dropped nothing is padded.
    padding = [tokenizer.pad_token_id if tail == "pad" else 0] * length
    ids = torch.tensor([(row + padding)[:length] for row in rows], dtype=torch.int64)
    labels = ids.masked_fill(mask == 0, NO_LABEL)
    return TokenBlocks(ids, mask, labels, tuple(starts), used, int(ends[-1]) - used, lost)


def _closed(tokenizer: PreTrainedTokenizerBase, tokens: list[list[int]]) -> list[list[int]]:
    """Put the end token behind each text, where the tokenizer has one and has not put it there."""
    end = tokenizer.eos_token_id
    return [text if end is None or text[-1:] == [end] else [*text, end] for text in tokens]
