"""Tables of what is trained beside frozen matrices: factors of adapters, their vectors, and biases."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from paramgraph.nodes import LinearLayer, NodeTable, matched_layers, node_tables, weighted_layers
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation.adapter_layers import (
    AdapterPart,
    adapter_layers,
    adapter_parts,
    expert_parts,
    inactive_parts,
    starts_with_an_update,
)
from spectral_opt.preparation.factor_table import FactorTable, factor_table
from spectral_opt.ranks import is_split


def adapter_tables(
    model: nn.Module, config: SpectralConfig, trained: Collection[int]
) -> tuple[dict[str, FactorTable], dict[str, str]]:
    """Find what a config acts on beside the frozen matrices that it targets, and why the rest is left alone.

    Of a low-rank update s B A the graph of the matrix's rows acts on B and that of its columns on A, whatever the
    scheme; a config without a filter has only the graph that its penalty needs. A vector with an entry per feature
    (the scale of IA3, the magnitude of DoRA, a bias) is a signal of width 1 on the rows, or on the columns where it
    scales inputs; the penalty takes it there, whatever the scheme. Biases count only where all targeted matrices are
    frozen (BitFit): elsewhere rows carry none. `trained` holds the `id` of what is trained. An adapter whose update is
    not s B A is left alone. A ValueError where a penalty could not be had without forming the update.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> _ = model[0].weight.requires_grad_(False)
    >>> adapter_tables(model, SpectralConfig(), {id(model[0].bias)})[0]
    {'0.bias': NodeTable('0.bias', scheme='rows', nodes=2, width=1)}
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    targeted = matched_layers(model, config.targets, config.exclude)
    frozen = {bare: layer for bare, layer in targeted.items() if id(named[layer.parameter]) not in trained}
    layers = adapter_layers(model)
    skipped = {
        key: reason
        for wrappers in layers.values()
        for name, wrapper in wrappers
        for key, reason in inactive_parts(name, wrapper).items()
    }
    tables: dict[str, FactorTable] = {}
    measured: dict[str, dict[str, NodeTable]] = {}
    for layer_name, layer, part in _parts(model, frozen, layers, len(frozen) == len(targeted)):
        parameter = named[part.parameter]
        if id(parameter) not in trained:
            if parameter.requires_grad:
                skipped[part.parameter] = "not in the optimizer"
            continue
        if not measured:  # only now: a model without any of this pays nothing
            measured = {side: node_tables(model, side, config.targets, config.exclude) for side in _SIDES}
        frozen_table = measured[part.scheme][layer.group]
        if part.is_turned:
            skipped[part.parameter] = _TURNED
            continue
        if part.expert >= 0 and is_split(parameter):
            skipped[part.parameter] = "FSDP2 splits the factors of all experts over ranks"
            continue
        table = factor_table(frozen_table, part, parameter.shape, layer_name)
        if config.has_filter or table.penalizes(config):
            tables[table.group] = table
        else:
            skipped[part.parameter] = "the penalty is taken with the graph of the other factor"
    if config.penalty:
        _check_penalty(config, tables)
    acted = {name for table in tables.values() for name in table.parameters}
    return tables, {key: reason for key, reason in skipped.items() if key not in acted}


def check_starts(config: SpectralConfig, tables: Iterable[NodeTable], start: Mapping[str, Tensor]) -> None:
    """Refuse a decoupled penalty on an update that does not start at zero: its step has no factors of the same rank."""
    if not config.penalty or config.penalty_mode != "decoupled":
        return
    for table in tables:
        if not isinstance(table, FactorTable) or not table.factors or not table.penalizes(config):
            continue
        if starts_with_an_update([start[name] for name in table.factors]):
            raise ValueError(
                f"the adapter of {table.layer_name!r} does not start at zero (B_0 A_0 != 0), and a decoupled step on "
                "s (B A - B_0 A_0) is not of its rank; use penalty_mode='gradient'"
            )


_SIDES = ("rows", "columns")
_TURNED = (
    "PEFT reads its stack as (experts, out, in) and it is (experts, in, out), so B lies on the inputs and A on the "
    "outputs: give the module is_transposed = True before the adapter is made"
)


def _parts(
    model: nn.Module,
    frozen: Mapping[str, LinearLayer],
    layers: Mapping[str, list[tuple[str, Any]]],
    with_biases: bool,
) -> Iterator[tuple[str, LinearLayer, AdapterPart]]:
    """List the parts beside each frozen matrix: those of its adapters, then its bias."""
    weighted = weighted_layers(model)
    modules = dict(model.named_modules())
    biases: set[int] = set()
    for bare, layer in frozen.items():
        if layer.expert >= 0:
            for name, wrapper in layers.get(layer.module, []):
                for part in expert_parts(name, layer, wrapper):
                    yield name, layer, part
            continue  # its bias is that of all experts
        for name, wrapper in layers.get(bare, []):
            for part in adapter_parts(name, bare, wrapper):
                yield name, layer, part
        raw = weighted[bare].raw
        bias = modules[raw]._parameters.get("bias")
        if with_biases and bias is not None and id(bias) not in biases:
            biases.add(id(bias))  # tied layers may share it
            text = f"bias of {bare}: a signal of width 1 on the rows"
            yield raw, layer, AdapterPart(f"{raw}.bias" if raw else "bias", "rows", "", (), text)


def _check_penalty(config: SpectralConfig, tables: Mapping[str, FactorTable]) -> None:
    """Refuse a penalty on an update that would have to be formed."""
    pairs = [table for table in tables.values() if table.factors]
    if not pairs:
        return
    if config.scheme not in ("rows", "columns", "entries"):
        raise ValueError(
            f"a penalty with scheme {config.scheme!r} on a low-rank update would need the product s B A itself; use "
            "'rows', 'columns' or 'entries', or penalty=0.0 (the filter takes rows for B and columns for A anyway)"
        )
    if config.penalty_on == "weight":
        raise ValueError(
            "penalty_on='weight' is of the whole matrix W + s B A, and W is frozen: its own part of the penalty cannot "
            "be trained away by a low-rank update; use penalty_on='delta'"
        )
    sides = _SIDES if config.scheme == "entries" else (config.scheme,)
    if any(table.carries_entries(config) for table in pairs):
        sides = ("rows",)
        if config.penalty_mode == "decoupled":
            raise ValueError(
                "a decoupled step of a tensor product's penalty takes a low-rank update out of its rank: no step of B "
                "and A is that of s B A; use penalty_mode='gradient'"
            )
        if config.has_filter:
            raise ValueError(
                "on a low-rank update filters act on each factor by its own graph, and the penalty of a tensor product "
                "on both at once: give two configs, one with placement=None, one with penalty=0.0"
            )
    for table in pairs:
        for side in sides:
            carrier = table.carrier(_SIDES.index(side))
            if carrier not in tables:
                raise ValueError(
                    f"a penalty with scheme {config.scheme!r} acts on the nodes of {carrier!r}, which is not trained; "
                    f"use scheme {_SIDES[1 - _SIDES.index(side)]!r}, or penalty=0.0"
                )
    adapters: dict[str, set[str]] = {}
    for table in pairs:
        adapters.setdefault(table.layer_name, set()).add(table.adapter)
    several = {name: sorted(found) for name, found in adapters.items() if len(found) > 1}
    if several:
        name, found = next(iter(several.items()))
        raise ValueError(
            f"layer {name!r} trains the adapters {', '.join(found)} at once, and the penalty of their sum is not the "
            "sum of their penalties; activate one, or use penalty=0.0"
        )
