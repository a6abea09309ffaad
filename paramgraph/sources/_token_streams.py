"""Which tokens a layer sees: the encoder's or the decoder's, and which of them are no padding."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.sources._passes import named_arguments

STREAMS = ("", "encoder", "decoder")
# How models name the attention of a decoder to its encoder, and the projections there that read the encoder.
CROSS = (
    "encdecattention",
    "encoder_attn",
    "crossattention",
    "cross_attn",
    "cross_attention",
    "encoder_decoder_attention",
)
OF_ENCODER = (
    "k",
    "v",
    "key",
    "value",
    "k_proj",
    "v_proj",
    "key_proj",
    "value_proj",
    "c_attn",
)


def stream_of(model: nn.Module, parameter: str) -> str:
    """Say which part of a model of two parts a parameter belongs to.

    "cross" (attention to the tokens of an encoder, also of a decoder that stands alone); "encoder" or "decoder" in an
    encoder-decoder, which its config tells; "" elsewhere.
    """
    parts = parameter.lower().split(".")
    if any(part in CROSS for part in parts):
        return "cross"
    if not _has_encoder(model):
        return ""
    return next((part for part in parts if part in ("encoder", "decoder")), "")


def stream_of_signal(model: nn.Module, parameter: str) -> str:
    """Say whose tokens go through a layer: "encoder", "decoder" or "".

    Keys and values of cross attention are made of the encoder's tokens, all else there of the decoder's.
    """
    stream = stream_of(model, parameter)
    if stream != "cross":
        return stream
    if any(part in OF_ENCODER for part in parameter.lower().split(".")):
        return "encoder"
    return "decoder" if _has_encoder(model) else ""


def real_tokens(model: nn.Module, batch: Any, stream: str) -> Tensor | None:
    """Read from a batch which tokens (texts, tokens) are no padding; None where it does not say, and all count.

    For the decoder of an encoder-decoder from "decoder_attention_mask", else from "labels" (-100 is padding); for an
    encoder outside of the model from "encoder_attention_mask"; otherwise from "attention_mask".
    """
    if not isinstance(batch, Mapping):
        return None
    apart = (
        {"decoder": "decoder_attention_mask"}
        if _has_encoder(model)
        else {"encoder": "encoder_attention_mask"}
    )
    mask = batch.get(apart.get(stream, "attention_mask"))
    if isinstance(mask, Tensor):
        return mask > 0 if mask.ndim <= 2 else _attended(mask)
    labels = batch.get("labels") if stream == "decoder" and _has_encoder(model) else None
    if isinstance(labels, Tensor) and not torch.is_floating_point(labels) and labels.ndim == 2:
        return labels != -100
    return None


def _attended(mask: Tensor) -> Tensor | None:
    """Read a mask (texts, ..., queries, keys): a token that no query attends to is padding; None where all count."""
    added = mask.is_floating_point() and bool((mask <= 0).all())  # to the scores: 0, or very negative
    attends = mask == 0 if added else mask > 0
    real = attends.flatten(1, -2).any(dim=1)
    return None if bool(real.all()) else real


def token_mask(model: nn.Module, batch: Any, stream: str) -> Tensor | None:
    """Read `real_tokens` of a batch; all of its tokens where it has no mask, None where it has no tokens either."""
    mask = real_tokens(model, batch, stream)
    key = token_key(model, batch, stream)
    if mask is not None or key is None:
        return mask if mask is None or mask.ndim == 2 else None
    return torch.ones(batch[key].shape[:2], dtype=torch.bool, device=batch[key].device)


Change = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Masks:
    """The masks of one batch: its own, or where it names none, those that the model is given at each call.

    Where the model is given none either, a part of it is that takes an `attention_mask`, called by a loss or by the
    model.
    """

    def __init__(self, model: nn.Module, batch: Any) -> None:
        self._model, self._given = model, batch
        self._known: dict[str, Tensor | None] = {}
        self._has_others: bool | None = None
        self._is_told = self._tells(batch)

    def of(self, stream: str) -> Tensor | None:
        """Give the mask of a stream's tokens, as `token_mask` does."""
        if stream not in self._known:
            self._known[stream] = token_mask(self._model, self._given, stream)
        return self._known[stream]

    def has_tokens(self, stream: str) -> bool:
        """Say whether a stream's tokens are known, so that others can be put in their place."""
        return token_key(self._model, self._given, stream) is not None

    @property
    def has_others(self) -> bool:
        """Whether the model is given an image or a sound beside the texts."""
        if self._has_others is None:
            given = self._given if isinstance(self._given, Mapping) else {}
            tokens = {token_key(self._model, given, stream) for stream in STREAMS}
            self._has_others = any(
                isinstance(part, Tensor) and part.is_floating_point() and part.ndim > 2
                for name, part in given.items()
                if name not in tokens and not str(name).endswith("mask")
            )
        return self._has_others

    def watched(self) -> AbstractContextManager[None]:
        """Read what a model is given while a loss runs it, perhaps several times: pairs, or texts put together."""
        return nullcontext() if self._is_told else self._calls()

    @contextmanager
    def altered(self, batch: Any, change: Change) -> Iterator[Any]:
        """Give the batch to run so that the model is given what `change` makes of its arguments."""
        if self._is_told:
            yield change(self._given)
            return
        with self._calls(change):
            yield batch

    def _tells(self, given: Any, is_part: bool = False) -> bool:
        # A part may be given embeddings of an image: without a mask, they are not known to be tokens.
        read = real_tokens if is_part else token_mask
        return any(read(self._model, given, stream) is not None for stream in STREAMS)

    @contextmanager
    def _calls(self, change: Change | None = None) -> Iterator[None]:
        """Read, and perhaps change, the arguments of the outermost calls that tell a mask."""
        inside: list[nn.Module] = []

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if inside:
                return None
            # All in one dictionary, or each by name or position.
            place = next((at for at, one in enumerate(args) if isinstance(one, Mapping)), None)
            named = named_arguments(module, args, kwargs) if place is None else args[place]
            given = kwargs if named is None else named
            if not self._tells(given, is_part=module is not self._model):
                return None
            inside.append(module)
            self._given, self._known, self._has_others = given, {}, None
            if change is None or named is None:
                return None
            other = change(given)
            return ((), other) if place is None else ((*args[:place], other, *args[place + 1 :]), kwargs)

        def leave(module: nn.Module, *_: Any) -> None:
            if inside and inside[0] is module:
                inside.clear()

        handles = []
        for module in _readers(self._model):
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _readers(model: nn.Module) -> list[nn.Module]:
    """List a model and its parts that take an `attention_mask`."""
    forwards = {type(module): getattr(type(module), "forward", None) for module in model.modules()}
    reading = {
        kind
        for kind, forward in forwards.items()
        if callable(forward) and "attention_mask" in inspect.signature(forward).parameters
    }
    return [module for module in model.modules() if module is model or type(module) in reading]


def token_key(model: nn.Module, batch: Any, stream: str) -> str | None:
    """Name the entry of a batch that holds a stream's tokens (texts, tokens), or their embeddings; None without."""
    if not isinstance(batch, Mapping):
        return None
    keys = ["input_ids", "inputs_embeds"]
    if stream == "decoder" and _has_encoder(model):
        keys = ["decoder_input_ids", "decoder_inputs_embeds"]
    elif stream == "encoder" and not _has_encoder(model):
        keys = ["encoder_hidden_states"]
    mask = real_tokens(model, batch, stream)
    for key in keys:
        tokens = batch.get(key)
        if isinstance(tokens, Tensor) and tokens.ndim == (2 if key.endswith("ids") else 3):
            return key if mask is None or mask.shape == tokens.shape[:2] else None
    return None


def _has_encoder(model: nn.Module) -> bool:
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
