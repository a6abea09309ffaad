"""Which tokens a layer sees: the encoder's or the decoder's, and which of them are no padding."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# How models name the attention of a decoder to its encoder, and the projections there that read the encoder.
CROSS = (
    "encdecattention",
    "encoder_attn",
    "crossattention",
    "cross_attn",
    "cross_attention",
    "encoder_decoder_attention",
)
OF_ENCODER = ("k", "v", "key", "value", "k_proj", "v_proj", "key_proj", "value_proj")


def stream_of(model: nn.Module, parameter: str) -> str:
    """Say which part of an encoder-decoder a parameter belongs to.

    Parameters
    ----------
    model : nn.Module
        The bare model; its `config.is_encoder_decoder` decides whether there are parts at all.
    parameter : str
        Name of the parameter.

    Returns
    -------
    str
        "encoder", "decoder" or "cross" (attention of the decoder to the encoder); "" in models of one part.

    Examples
    --------
    >>> stream_of(nn.Linear(2, 2), "encoder.layer.0.query.weight")
    ''
    """
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return ""
    parts = parameter.lower().split(".")
    if any(part in CROSS for part in parts):
        return "cross"
    return next((part for part in parts if part in ("encoder", "decoder")), "")


def real_tokens(batch: Any, decoder: bool) -> Tensor | None:
    """Read from a batch which tokens are no padding.

    Parameters
    ----------
    batch : object
        Anything a model runs on; only mappings say something.
    decoder : bool
        Whether the tokens of the decoder of an encoder-decoder are asked for.

    Returns
    -------
    Tensor of shape (texts, tokens) or None
        True where a token is real. For the decoder from "decoder_attention_mask", else from "labels" (-100 is
        padding); otherwise from "attention_mask". None where the batch does not say, and every token counts.
    """
    if not isinstance(batch, Mapping):
        return None
    mask = batch.get("decoder_attention_mask" if decoder else "attention_mask")
    if isinstance(mask, Tensor):
        return mask == 1
    labels = batch.get("labels") if decoder else None
    if isinstance(labels, Tensor) and not torch.is_floating_point(labels) and labels.ndim == 2:
        return labels != -100
    return None


def mask_of_signal(model: nn.Module, parameter: str, batch: Any) -> Tensor | None:
    """Read which tokens are real at the input or output of a layer.

    Parameters
    ----------
    model : nn.Module
        The bare model.
    parameter : str
        Name of the layer's weight.
    batch : object
        The batch that runs.

    Returns
    -------
    Tensor of shape (texts, tokens) or None
        As `real_tokens`.
    """
    stream = stream_of(model, parameter)
    # Keys and values of cross attention are made of the encoder's tokens.
    reads_encoder = any(part in OF_ENCODER for part in parameter.lower().split("."))
    return real_tokens(batch, stream == "decoder" or (stream == "cross" and not reads_encoder))
