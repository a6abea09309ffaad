"""Scheme "heads": the attention heads of all layers as the nodes of one graph."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from paramgraph.nodes._attention_layout import Attention, HeadProjection, attention_module
from paramgraph.nodes._attention_names import FUSED, OUTPUT_BESIDE, SPLIT, is_attention
from paramgraph.nodes.linear_modules import LinearLayer, weighted_layers
from paramgraph.nodes.slices import ParameterSlice
from paramgraph.nodes.table import NodeTable
from paramgraph.nodes.wrapping import bare_names

# Which projections a node of each table is made of, where key/value heads are as many as queries and else.
SAME_NUMBER = {"query": ("query", "key", "value", "output")}
FEWER_PAIRS = {"query": ("query", "output"), "key_value": ("key", "value")}


def head_tables(
    model: nn.Module, targeted: Collection[str], fused: str | None = None
) -> dict[str, NodeTable]:
    """Make a table of query heads over all layers, and one of key and value heads where these are fewer in any."""
    if fused not in (None, "blocked", "grouped"):
        raise ValueError(f"fused must be 'blocked', 'grouped' or None, got {fused!r}")
    found = _attention_modules(model, targeted, fused)
    same = all(attention.heads == attention.key_value_heads for attention in found)
    tables: dict[str, NodeTable] = {}
    for group, kinds in (SAME_NUMBER if same else FEWER_PAIRS).items():
        tables |= _tables_of_kind(group, kinds, found, targeted)
    return tables


def _attention_modules(model: nn.Module, targeted: Collection[str], fused: str | None) -> list[Attention]:
    layers = {name: weighted.layer for name, weighted in weighted_layers(model, packed=True).items()}
    raw_modules = dict(model.named_modules())
    # A wrapper and what it wraps have one bare name; the innermost module comes last and is the one meant.
    modules = {bare: raw_modules[raw] for raw, bare in bare_names(model).items()}
    own: dict[str, dict[str, LinearLayer]] = {}
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        own.setdefault(parent, {})[child] = layer
    found = []
    unreadable: dict[str, str] = {}
    for name, children in own.items():
        above = name.rpartition(".")[0]
        reach = [*(layer.module for layer in children.values()), *(f"{above}.{end}" for end in OUTPUT_BESIDE)]
        if any(layer in targeted for layer in reach):
            try:
                attention = attention_module(name, children, layers, _owners(name, modules), fused)
            except ValueError as error:
                unreadable[name] = str(error)
                continue
            if attention is not None:
                found.append(attention)
    unreadable |= _missed(modules, targeted, {*unreadable, *(attention.module for attention in found)})
    if not found:
        raise ValueError(next(iter(unreadable.values()), None) or _no_attention(model, layers))
    if unreadable:
        first, *others = unreadable.items()
        warnings.warn(
            f"left out of all tables of heads: {first[1]}"
            + (f"; likewise {', '.join(name for name, _ in others)}" if others else ""),
            stacklevel=2,
        )
    return found


def _owners(name: str, modules: Mapping[str, nn.Module]) -> tuple[Any, ...]:
    """List where the number of heads may stand: the module, then the configs from it up to the model's."""
    parts = name.split(".") if name else []
    paths = [".".join(parts[:end]) for end in range(len(parts), -1, -1)]
    configs = [getattr(modules[path], "config", None) for path in paths if path in modules]
    return modules[name], *(config for config in configs if config is not None)


def _missed(
    modules: Mapping[str, nn.Module], targeted: Collection[str], read: Collection[str]
) -> dict[str, str]:
    """Say why attention modules whose layers have unknown names have no heads: these would be dropped in silence."""
    known = {_path(name) for name in read}
    inside = {path[:end] for path in known for end in range(len(path) + 1)}
    missed: dict[str, str] = {}
    for layer in targeted:
        path = _path(layer)
        ancestors = [path[:end] for end in range(len(path))]
        if any(ancestor in known for ancestor in ancestors):
            continue
        for ancestor in ancestors:
            name = ".".join(ancestor)
            if ancestor not in inside and is_attention(modules[name]):
                missed.setdefault(
                    name,
                    f"cannot tell the heads of {type(modules[name]).__name__} {name!r} apart: its layer "
                    f"{layer!r} has no known name ({_known_names()}); leave it out with exclude=[{layer!r}]",
                )
                break
    return missed


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")) if name else ()


def _tables_of_kind(
    group: str, kinds: Sequence[str], found: Sequence[Attention], targeted: Collection[str]
) -> dict[str, NodeTable]:
    seen: set[ParameterSlice] = set()
    by_parts: dict[tuple[tuple[str, int], ...], list[tuple[Attention, list[HeadProjection]]]] = {}
    for attention in found:
        # Layers that share weights share their heads, which are counted once.
        parts = [
            projection
            for projection in attention.projections
            if projection.kind in kinds and projection.module in targeted and projection.part not in seen
        ]
        seen.update(projection.part for projection in parts)
        if parts:
            signature = tuple((projection.kind, projection.part.width) for projection in parts)
            by_parts.setdefault(signature, []).append((attention, parts))
    tables = {}
    for signature, members in by_parts.items():
        shape = "+".join(f"{kind} {width}" for kind, width in signature)
        key = group if len(by_parts) == 1 else f"{group}[{shape}]"
        tables[key] = _head_table(key, "head" if group == "query" else "key_value_head", members)
    return tables


def _head_table(
    group: str, what: str, members: Sequence[tuple[Attention, list[HeadProjection]]]
) -> NodeTable:
    slices: list[ParameterSlice] = []
    nodes: list[tuple[str, int, int, str]] = []
    for attention, parts in members:
        column = 0
        for projection in parts:
            slices.append(replace(projection.part, at=(len(nodes), column)))
            column += projection.part.width
        start = f"{attention.module}.{what}" if attention.module else what
        nodes += [
            (f"{start}.{head}", attention.layer, head, attention.role) for head in range(parts[0].part.nodes)
        ]
    names, layer, head, role = zip(*nodes, strict=True)
    return NodeTable(group, "heads", tuple(slices), names, layer, head, role)


def _known_names() -> str:
    split = "; ".join(", ".join(names) for names in SPLIT)
    return f"known: {split}; or fused: {', '.join(FUSED)}"


def _no_attention(model: nn.Module, layers: Mapping[str, LinearLayer]) -> str:
    return (
        f"heads need attention: no module of {type(model).__name__} owns targeted query, key and value "
        f"projections of known names ({_known_names()}); it has {', '.join(list(layers)[:6])}"
        f"{', ...' if len(layers) > 6 else ''}. Other schemes need no attention: rows, columns, blocks, layers"
    )
