"""Tokenizers made ready for batches: a token that pads, and no more tokens than the model has places for."""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn
from transformers import PreTrainedTokenizerBase

from spectral_opt.errors import ModelError

# Or a function that loads one, which is called where a tokenizer is needed, and nowhere else.
TokenizerLike: TypeAlias = PreTrainedTokenizerBase | Callable[[], PreTrainedTokenizerBase]


def give_padding(tokenizer: PreTrainedTokenizerBase, shown: str) -> str:
    """Let the end token pad where the tokenizer has no padding token, and say so; "" where it has one.

    A ModelError where it has neither.
    """
    if tokenizer.pad_token is not None:
        return ""
    if tokenizer.eos_token is None:
        raise ModelError(
            f"the tokenizer of {shown!r} has neither a padding nor an end token: texts cannot be batched"
        )
    tokenizer.pad_token = tokenizer.eos_token
    return "the tokenizer has no padding token: its end token pads"


def pad_alike(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tell a model of transformers which token pads, and return that token where it knew another one, or none.

    A classifier on a decoder scores the last token of a text that is not the padding token of its configuration: with
    none it refuses batches, with another one it would score the padding.
    """
    config = getattr(model, "config", None)
    config = getattr(config, "get_text_config", lambda: config)()
    if config is None or getattr(config, "pad_token_id", None) == tokenizer.pad_token_id:
        return None
    config.pad_token_id = tokenizer.pad_token_id
    return int(tokenizer.pad_token_id)


def limit_to_positions(tokenizer: PreTrainedTokenizerBase, model: nn.Module, before: int = 0) -> None:
    """Lower the tokenizer's own maximum to the positions of the model; many tokenizers state none.

    Positions `before` a text are taken by what an adapter puts there.
    """
    positions = _positions(model)
    if positions is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions - before)


def usable_length(tokenizer: PreTrainedTokenizerBase, wanted: int) -> tuple[int, str]:
    """Give the tokens of a text that the tokenizer allows, at most those wanted, and say where they are fewer."""
    most = int(min(wanted, tokenizer.model_max_length))
    return most, "" if most == wanted else (
        f"texts end at {most} tokens, all that the tokenizer and the model allow; {wanted} were asked for"
    )


def check_length(tokenizer: PreTrainedTokenizerBase, name: str, length: int, shortest: int) -> None:
    """Refuse tokens of a text, or of a block, that are too few to say anything or more than the tokenizer allows."""
    if not shortest <= length <= tokenizer.model_max_length:
        raise ValueError(
            f"{name} is {length}: this tokenizer allows {shortest} to {tokenizer.model_max_length}"
        )


def _positions(model: nn.Module) -> int | None:
    config = getattr(model, "config", None)
    config = getattr(config, "get_text_config", lambda: config)()
    stated = getattr(config, "max_position_embeddings", None)
    if not isinstance(stated, int) or stated < 1:
        return None
    # RoBERTa counts positions from behind the one that is kept for padding, in a table of all of them.
    kept = [
        module.padding_idx + 1
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        and module.num_embeddings == stated
        and module.padding_idx is not None
    ]
    return stated - max(kept, default=0)
