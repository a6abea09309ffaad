"""Passes over batches that hand on the attention probabilities of the heads of tables."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.nodes import NodeTable, unwrap
from paramgraph.sources._failures import Failures, OnFailure
from paramgraph.sources._passes import Batches, Loss, Sink, check_finite, named_batch, passes, run_batch
from paramgraph.sources._token_streams import Masks, stream_of
from paramgraph.sources.accumulators import FeatureBlocks

# The projection's parent is the attention module; BERT's output projection lies one module deeper.
LEVELS = 2
# transformers installs its recording hooks when attentions are asked for the first time, and never removes them.
HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
INSTALLED = "_output_capturing_hooks_installed"


@dataclass(frozen=True)
class _Heads:
    """The nodes of one attention module in one table."""

    group: str
    first: int
    count: int
    parameter: str


def attention_passes(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    sink: Sink,
    on_failure: OnFailure | None = None,
) -> Iterator[None]:
    """Hand on the attention maps (heads, queries x keys) of the heads of some tables, once per table and batch."""
    bare = unwrap(model)
    chosen: dict[_Heads, nn.Module] = {}
    failures = Failures(tables, on_failure)
    heads: dict[_Heads, list[nn.Module]] = {}
    for found in _heads_of(tables):
        with failures.of_table(found.group):
            heads[found] = _above(bare, found.parameter)
    blocks = {group: FeatureBlocks(table.shape[0]) for group, table in tables.items()}
    pairs: Counter[str] = Counter()

    def step(index: int, batch: Any) -> None:
        seen: set[_Heads] = set()
        masks = Masks(bare, named_batch(bare, batch) if loss is None else batch)

        def read(module: nn.Module, output: Any) -> None:
            for found, modules in heads.items():
                # The innermost module that has given the map gives it from then on.
                if module not in modules or chosen.get(found, module) is not module:
                    continue
                with failures.of_table(found.group):
                    attention = _probabilities(output, found.count)
                    if attention is None or found.group in failures.reasons:
                        continue
                    chosen[found] = module
                    seen.add(found)
                    piece = _real_pairs(bare, found, attention, masks)
                    check_finite(piece, "attention", found.parameter, index)
                    pairs[found.group] += piece.shape[1]
                    blocks[found.group].add(stream_of(bare, found.parameter), found.first, piece)

        with torch.no_grad(), eager_attention(bare), _hooked(heads.values(), read), masks.watched():
            run_batch(bare, batch) if loss is None else loss(bare, batch)
        for group, kept in blocks.items():
            if group not in failures.reasons:
                with failures.of_table(group):
                    _check_seen(bare, [found for found in heads if found.group == group], seen)
                    sink(group, kept.take())

    yield from passes(bare, batches, step)
    for group in blocks:
        if not pairs[group] and group not in failures.reasons:
            with failures.of_table(group):
                raise ValueError(
                    f"none of the texts has a token that is no padding at the heads of {group!r}"
                )


def _heads_of(tables: Mapping[str, NodeTable]) -> list[_Heads]:
    found: dict[tuple[str, int], _Heads] = {}
    for group, table in tables.items():
        for part in table.slices:
            found.setdefault((group, part.at[0]), _Heads(group, part.at[0], part.nodes, part.parameter))
    return list(found.values())


def _above(model: nn.Module, parameter: str) -> list[nn.Module]:
    """List the modules around a projection, innermost first."""
    name = parameter.rpartition(".")[0]
    above: list[nn.Module] = []
    while name and len(above) < LEVELS:
        adapted = name.endswith(".base_layer")
        name = name.rpartition(".")[0]
        if not adapted:
            above.append(model.get_submodule(name))
    return above


@contextmanager
def _hooked(modules: Iterable[list[nn.Module]], read: Any) -> Iterator[None]:
    handles = []
    try:
        for module in {id(one): one for some in modules for one in some}.values():
            handles.append(module.register_forward_hook(lambda module, _, output: read(module, output)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _probabilities(output: Any, heads: int) -> Tensor | None:
    """Find (texts, heads, queries, keys) in what a module returned, by what probabilities are."""
    parts = (
        output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    )
    best, mass = None, 0.0
    for part in parts:
        if not isinstance(part, Tensor) or part.ndim != 4 or not part.is_floating_point():
            continue
        if part.shape[1] % heads or (part < 0).any():
            continue
        # T5 returns its position bias as well, which may be all zero. Rows of bfloat16 probabilities add up to 1
        # within their 8 bits; to less than 1 where a model has attention sinks.
        rows = part.float().sum(-1)
        if not (rows > 1.01).any() and not rows.mean() <= mass:
            best, mass = part, float(rows.mean())
    return best


def _real_pairs(model: nn.Module, found: _Heads, attention: Tensor, masks: Masks) -> Tensor:
    texts, count, queries, keys = attention.shape
    stream = stream_of(model, found.parameter)
    of_queries = _fitting(masks.of("decoder" if stream == "cross" else stream), texts, queries)
    of_keys = _fitting(masks.of("encoder" if stream == "cross" else stream), texts, keys)
    if stream != "cross" and (of_queries is None) != (of_keys is None):
        raise ValueError(
            f"the attention at {found.parameter!r} has {queries} queries and {keys} keys, and the batch's mask fits "
            "one of them only: run whole texts, without prefixes or a cache"
        )
    _check_text(model, found, attention, masks, (of_queries, of_keys))
    every = torch.ones((), dtype=torch.bool, device=attention.device)
    rows = (every if of_queries is None else of_queries.to(attention.device)).expand(texts, queries)
    columns = (every if of_keys is None else of_keys.to(attention.device)).expand(texts, keys)
    if masks.has_others and stream != "cross":
        # An image or a sound may have as many places as the texts: what looks at their padding is none of the texts.
        at_padding = attention * (rows[:, :, None] & ~columns[:, None, :])[:, None]
        if bool(at_padding.any()):
            rows, columns = (every.expand(part.shape) for part in (rows, columns))
    maps = attention.detach().transpose(0, 1)[:, rows[:, :, None] & columns[:, None, :]]
    # A key/value head has the mean map of the query heads that share it, which lie beside each other.
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    return wide.reshape(found.count, count // found.count, -1).mean(dim=1)


def _check_text(
    model: nn.Module,
    found: _Heads,
    attention: Tensor,
    masks: Masks,
    fitting: tuple[Tensor | None, Tensor | None],
) -> None:
    """Refuse maps that are not those of the batch's tokens: of windows, or of tokens padded once more."""
    texts, _, queries, keys = attention.shape
    stream = stream_of(model, found.parameter)
    ends = ("decoder", "encoder") if stream == "cross" else (stream, stream)
    text = [masks.of(end) for end in ends]
    missed = [mask for mask, one in zip(text, fitting, strict=True) if mask is not None and one is None]
    if not missed:
        return
    # Maps of an image or a sound beside a text are square and without padding.
    if queries != keys or not (masks.has_others or all(bool(mask.all()) for mask in missed)):
        raise ValueError(
            f"the attention at {found.parameter!r} comes as {texts} maps of {queries} queries and {keys} keys, not as "
            f"the {missed[0].shape[0]} texts of {missed[0].shape[1]} tokens of the batch: the model pads or cuts texts "
            "itself; give texts of a length that it leaves as they are, or take another source"
        )


def _fitting(mask: Tensor | None, texts: int, positions: int) -> Tensor | None:
    return mask if mask is not None and tuple(mask.shape) == (texts, positions) else None


def _check_seen(model: nn.Module, heads: Iterable[_Heads], seen: set[_Heads]) -> None:
    missing = [found.parameter for found in heads if found not in seen]
    if missing:
        raise ValueError(
            f"{type(model).__name__} gives no attention probabilities at {missing[0]!r} ({len(missing)} modules in "
            "all): the attention module must run, and return them with output_attentions and eager attention as a "
            "tensor (texts, heads, queries, keys)"
        )


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Switch a model to eager attention and `output_attentions`, and back.

    Fused kernels (sdpa, flash) never form the probabilities. Only configs are written, those of all submodules,
    and no call of the model is changed.
    """
    configs: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation"):
            configs[id(config)] = config
    kept = [(config, dict(config.__dict__)) for config in configs.values()]
    hooks = [
        (module, {name: list(getattr(module, name)) for name in HOOKS}, INSTALLED in module.__dict__)
        for module in model.modules()
    ]
    try:
        for config in configs.values():
            # The internal field: the property would write to configs of parts that are not here as well.
            config._attn_implementation_internal = "eager"
            config.output_attentions = True
        yield
    finally:
        for config, fields in kept:
            config.__dict__.clear()
            config.__dict__.update(fields)
        for module, before, installed in hooks:
            for name, keys in before.items():
                present = getattr(module, name)
                for key in [key for key in present if key not in keys]:
                    del present[key]
            if not installed:
                module.__dict__.pop(INSTALLED, None)
