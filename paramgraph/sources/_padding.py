"""Which rows that a layer is given are tokens of a text, and not padding, however the model lays tokens out.

Most layers are given (texts, tokens, features), as the batch's mask; some (tokens, texts, features), which the shape
tells. Where it does not (texts x tokens in one, tokens padded once more to a window, as many texts as tokens, some
tokens for an expert), the batch is run again with other tokens in place of a text, of the padding and of all texts: a
row that changes with the tokens, and not with the padding, is a token. So it is found, too, which rows of the texts'
shape are those of an image or a sound beside them.
"""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from paramgraph.sources._capture import Hook, Layer, forward_hooks
from paramgraph.sources._expert_products import Routed
from paramgraph.sources._failures import Failures
from paramgraph.sources._passes import RandomStates
from paramgraph.sources._token_streams import Masks, token_key, token_mask

# Rounding may differ where other rows do; another token changes a row by about its size.
CHANGE = 1e-3
# Special tokens that are text, or its end, to a model.
_OF_TEXT = ("bos", "cls", "decoder_start", "eos", "forced", "mask", "pad", "sep", "unk")


@dataclass(frozen=True)
class Unplaced:
    """One call of a layer whose rows are in an order that their shape does not tell."""

    name: str
    output: bool
    call: int
    stream: str
    signal: Tensor
    mask: Tensor
    has_tokens: bool  # whose place others can take


class Placement(NamedTuple):
    """Which rows of a signal are real tokens, text by text; and how many each text has, where that is known."""

    rows: Int64[Tensor, " tokens"]
    counts: tuple[int, ...] | None


def placed(shape: torch.Size, mask: Tensor | None, tokens_first: bool | None = None) -> Placement | None:
    """Find the real tokens of a signal of some shape (..., features); None where it does not tell them.

    `tokens_first` says in which order a layer is given texts x tokens in one, where that is known.
    """
    rows = torch.arange(shape[:-1].numel(), device="cpu" if mask is None else mask.device)
    if mask is None:
        return Placement(rows, None)
    texts, tokens = mask.shape
    lead, wanted = (tuple(size for size in one if size != 1) for one in (shape[:-1], mask.shape))
    # As many texts as tokens: either may come first, and only where the mask is the same for both does it not matter
    # which rows are real; whose they are is not known.
    square = texts == tokens and len(lead) == 2
    turnable = square and not torch.equal(mask, mask.T)
    in_one = shape[:-1] == (texts * tokens,)
    counts = None if square else tuple(mask.sum(dim=1).tolist())
    if (lead == wanted and not turnable) or (in_one and tokens_first is False):
        return Placement(rows[mask.reshape(-1)], counts)
    if (lead == wanted[::-1] and texts != tokens) or (in_one and tokens_first):
        return Placement(rows.reshape(tokens, texts).T.reshape(-1)[mask.reshape(-1)], counts)
    # Without padding fewer rows are pooled tokens or those of an expert; more hold something else than the text.
    whole = in_one or len(rows) < mask.numel()
    return Placement(rows, None) if bool(mask.all()) and whole else None


def of_expert(name: str, rows: int, routed: Routed, mask: Tensor | None) -> Placement:
    """Place the rows of an expert by which tokens it is given; ValueError where that is not known and decides.

    Rows are put in the order of texts. Tokens may be listed several times in a row, once for each of their experts.
    """
    if mask is None:
        return Placement(torch.arange(rows, device="cpu"), None)
    if routed.tokens is None or routed.listed % mask.numel():
        if bool(mask.all()):
            return Placement(torch.arange(rows, device=mask.device), None)
        raise ValueError(
            f"the expert {name!r} is given {rows} rows, and which of them are padding cannot be told: give batches of "
            "texts of one length without padding, or leave the layer out with exclude=[...]"
        )
    tokens = routed.tokens.to(mask.device) // (routed.listed // mask.numel())
    order = tokens.argsort(stable=True)
    order = order[mask.reshape(-1)[tokens[order]]]
    texts = torch.div(tokens[order], mask.shape[1], rounding_mode="floor")
    return Placement(order, tuple(torch.bincount(texts, minlength=mask.shape[0]).tolist()))


class Tracer:
    """Find the real tokens of one model's layers by running batches with other tokens.

    What was found of a layer that sees no text, though beside one, one row a text, or texts x tokens in one, holds for
    later batches.
    """

    def __init__(
        self, model: nn.Module, layers: Mapping[str, Sequence[Layer]], run: Callable[[Any], object]
    ) -> None:
        self.model, self.layers, self.run = model, layers, run
        self._apart: set[str] = set()
        self._of_text: set[str] = set()
        self._doubted: set[str] = set()
        self._pooled: set[str] = set()
        self.tokens_first: dict[str, bool] = {}

    def placed(
        self, name: str, signal: Tensor, mask: Tensor | None, has_others: bool = False
    ) -> Placement | None:
        """Find the real tokens of a layer's signal by its shape, and by what was found of the layer before.

        Where the model is given an image or a sound as well, that may have the shape of the texts: it is traced once.
        """
        asked = name in self._apart | self._of_text | self._pooled
        if has_others and not asked and mask is not None and not bool(mask.all()):
            self._doubted.add(name)
            return None
        pooled = mask is not None and name in self._pooled and len(rows_of(signal)) == len(mask)
        known = name in self._apart or pooled
        place = placed(signal.shape, None if known else mask, self.tokens_first.get(name))
        return place._replace(counts=(1,) * len(place.rows)) if pooled and place is not None else place

    def trace(
        self, batch: Any, masks: Masks, calls: Sequence[Unplaced]
    ) -> list[Int64[Tensor, " tokens"] | None]:
        """Find the rows of some calls that are real tokens; None where this batch does not tell them."""
        by_shape = [self._by_shape(call) for call in calls]
        if not any(call.has_tokens for call in calls):
            return by_shape  # tokens of other names, or none, cannot be changed

        @functools.cache
        def changes(places: Callable[[Tensor], Tensor]) -> list[Tensor | None]:
            return self._changes(batch, masks, places, calls)

        found: list[Tensor | None] = []
        for place, (call, fitting) in enumerate(zip(calls, by_shape, strict=True)):
            real = self._by_text(call, changes(_one_text)[place]) if fitting is None else None
            if real is None:
                real = self._by_token(call, changes(_padding)[place], changes(_tokens)[place])
            if fitting is not None and call.name not in self._apart:
                found.append(fitting)
                if changes(_tokens)[place] is not None:
                    self._of_text.add(call.name)
            elif real is None or not call.has_tokens:
                found.append(None)
            else:
                found.append(_in_order(real, call, self.tokens_first.get(call.name, False)))
        self._doubted -= self._of_text | self._apart
        return found

    def _by_shape(self, call: Unplaced) -> Tensor | None:
        """Give the rows that are real tokens if the layer is one of the texts; None where nothing fits them."""
        if call.name not in self._doubted:
            return None
        place = placed(call.signal.shape, call.mask, self.tokens_first.get(call.name))
        return None if place is None else place.rows

    def _by_text(self, call: Unplaced, changed: Tensor | None) -> Tensor | None:
        """Tell one row a text, or texts x tokens from tokens x texts, by what another first text changes."""
        texts, tokens = call.mask.shape
        if changed is None or not bool(changed.any()):
            return None
        if len(changed) == texts and not bool(changed[1:].any()):
            self._pooled.add(call.name)
            return torch.ones_like(changed)
        in_one = call.signal.shape[:-1] == (texts * tokens,)
        if len(changed) == texts * tokens and (in_one or texts == tokens):
            # Rows of another text do not change, whatever a model's tokens see of each other.
            straight, turned = changed.reshape(texts, tokens), changed.reshape(tokens, texts)
            texts_first = not bool(straight[1:].any()) and bool(straight[0, 1:].any())
            tokens_first = not bool(turned[:, 1:].any()) and bool(turned[1:, 0].any())
            if texts_first != tokens_first:
                if in_one:
                    self.tokens_first[call.name] = tokens_first
                mask = call.mask.to(changed.device)
                return (mask.T if tokens_first else mask).reshape(-1)
        return None

    def _by_token(self, call: Unplaced, padding: Tensor | None, tokens: Tensor | None) -> Tensor | None:
        """Take the rows that other tokens change and another padding does not, if they are as many as the tokens.

        Or a multiple of them; a model whose tokens see the padding gives others.
        """
        if padding is None or tokens is None:
            return None
        if not bool((padding | tokens).any()):
            self._apart.add(call.name)
            return torch.ones_like(tokens)
        count = max(int(call.mask.sum()), 1)
        for real in (~padding, tokens & ~padding):
            if bool(real.any()) and int(real.sum()) % count == 0 and not bool(real.all()):
                return real
        whole = len(tokens) == count or (bool(call.mask.all()) and len(tokens) % count == 0)
        return tokens if whole and bool((tokens & ~padding).all()) else None

    def _changes(
        self, batch: Any, masks: Masks, places: Callable[[Tensor], Tensor], calls: Sequence[Unplaced]
    ) -> list[Tensor | None]:
        """Say which rows of each call other tokens at some places change; None where there are other rows then."""
        wanted = {(call.name, call.output, call.call): place for place, call in enumerate(calls)}
        changed: list[Tensor | None] = [None] * len(calls)
        counts: Counter[str] = Counter()

        def hook(name: str) -> Hook:
            def compare(layer: Layer, x: Tensor, output: Tensor, routed: Routed | None) -> None:
                for side, signal in ((False, x), (True, output)):
                    place = wanted.get((name, side, counts[name]))
                    if place is not None and signal.shape == calls[place].signal.shape:
                        changed[place] = _differ(rows_of(calls[place].signal), rows_of(signal.detach()))
                counts[name] += 1

            return compare

        states = RandomStates.capture()
        try:
            # A layer that fails now has run before; there is nothing to compare then.
            silent = Failures({}, lambda group, reason: None)
            layers = {call.name: self.layers[call.name] for call in calls}
            inputs_only = layers.keys() - {call.name for call in calls if call.output}
            with (
                forward_hooks(layers, hook, silent, inputs_only),
                masks.altered(batch, lambda given: _altered(self.model, given, places)) as other,
            ):
                self.run(other)
        except (IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return [None] * len(calls)  # a model that does not take every token in every place
        finally:
            states.restore()
        return changed


def told(call: Unplaced, real: Int64[Tensor, " tokens"] | None) -> Int64[Tensor, " tokens"]:
    """Refuse a call of which it was not found which rows are real tokens."""
    if real is None:
        raise ValueError(
            f"the layer of {call.name!r} is given rows of the shape {tuple(call.signal.shape[:-1])} for "
            f"{call.mask.shape[0]} texts of up to {call.mask.shape[1]} tokens, and which of them are padding "
            "cannot be told: give batches of texts of one length without padding (and of a length that the "
            "model does not pad itself), or leave the layer out with exclude=[...]"
        )
    return real


def rows_of(signal: Tensor) -> Tensor:
    """Lay a signal (..., features) out as (rows, features)."""
    return signal.reshape(-1, signal.shape[-1])


def _in_order(real: Tensor, call: Unplaced, tokens_first: bool) -> Tensor:
    """Index real rows text by text, also where they came token by token."""
    rows = torch.arange(len(real), device=real.device)
    lead = [size for size in call.signal.shape[:-1] if size != 1]
    if tokens_first:
        lead = list(call.mask.shape[::-1])
    counts = call.mask.sum(dim=1).to(real.device)
    if len(lead) == 2 and lead[1] == len(counts):
        grid = real.reshape(lead)
        if torch.equal(grid.sum(dim=0), counts) and not torch.equal(grid.sum(dim=1), counts):
            turned = rows.reshape(lead).T.reshape(-1)
            return turned[real[turned]]
    return rows[real]


def _differ(before: Tensor, after: Tensor) -> Tensor:
    after = after.to(before)
    sizes = torch.linalg.vector_norm(before, dim=-1) + torch.linalg.vector_norm(after, dim=-1)
    changed: Tensor = torch.linalg.vector_norm(before - after, dim=-1) > CHANGE * sizes
    return changed


def _one_text(mask: Tensor) -> Tensor:
    first = torch.zeros_like(mask)
    first[:1] = True
    return first


def _padding(mask: Tensor) -> Tensor:
    return ~mask


def _tokens(mask: Tensor) -> Tensor:
    return mask


def _altered(
    model: nn.Module, batch: Mapping[str, Any], places: Callable[[Tensor], Tensor]
) -> dict[str, Any]:
    """Put other tokens in some places of a batch, which are chosen by its mask."""
    other, fixed = dict(batch), _placeholders(model)
    for stream in ("", "encoder", "decoder"):
        key, mask = token_key(model, batch, stream), token_mask(model, batch, stream)
        if key is not None and mask is not None:
            mask = mask.to(batch[key].device)
            other[key] = _replaced(batch[key], places(mask), mask, fixed)
    return other


def _placeholders(model: nn.Module) -> set[int]:
    """List the tokens that stand for an image or a sound, which have to stay where they are."""
    config: Mapping[str, Any] = getattr(getattr(model, "config", None), "__dict__", {})
    named = {name: value for name, value in config.items() if name.endswith(("_token_id", "_token_index"))}
    return {
        value for name, value in named.items() if isinstance(value, int) and not name.startswith(_OF_TEXT)
    }


def _replaced(tokens: Tensor, chosen: Tensor, kept: Tensor, fixed: set[int]) -> Tensor:
    """Take another token of the text at the chosen places: each the next one of those that occur."""
    if tokens.is_floating_point():
        return torch.where(chosen[..., None], tokens.roll(1, dims=-1) + 1, tokens)
    stays = torch.isin(tokens, torch.tensor(sorted(fixed), dtype=tokens.dtype, device=tokens.device))
    known = torch.as_tensor(np.unique(tokens[kept & ~stays].cpu().numpy())).to(tokens)
    if not len(known):
        return tokens
    if len(known) == 1:
        known = torch.cat([known, known - 1 if known[0] > 0 else known + 1]).sort().values
    after = torch.searchsorted(known, tokens, right=True) % len(known)
    return torch.where(chosen & ~stays, known[after], tokens)
