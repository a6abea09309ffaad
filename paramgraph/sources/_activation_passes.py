"""Passes over batches that hand on what flows into and out of the layers of tables."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Any, Literal, get_args

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from paramgraph.nodes import NodeTable, ParameterSlice, unwrap
from paramgraph.sources._capture import (
    Hook,
    Layer,
    accumulation_dtype,
    forward_hooks,
    is_transposed,
    layers_of,
)
from paramgraph.sources._expert_products import Routed, by_matrix
from paramgraph.sources._failures import Failures, OnFailure
from paramgraph.sources._padding import Placement, Tracer, Unplaced, of_expert, rows_of, told
from paramgraph.sources._passes import (
    Batches,
    Loss,
    Sink,
    check_finite,
    named_batch,
    parameters_of,
    passes,
    run_batch,
)
from paramgraph.sources._token_streams import Masks, stream_of_signal
from paramgraph.sources.accumulators import FeatureBlocks

Side = Literal["auto", "input", "output"]
SIDES = get_args(Side)


def activation_passes(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    sink: Sink,
    side: Side = "auto",
    on_failure: OnFailure | None = None,
) -> Iterator[None]:
    """Hand on the inputs or outputs of the layers of some tables.

    A table of one layer gets a piece (nodes, features) per call of the layer, a table of several layers one per batch.
    Padding is left out however a layer is given its tokens; where that cannot be told, the table fails.
    """
    if side not in SIDES:
        raise ValueError(f"side must be 'auto', 'input' or 'output', got {side!r}")
    bare = unwrap(model)
    tables = by_matrix(tables)
    failures = Failures(tables, on_failure)
    layers = without_embeddings(layers_of(bare, parameters_of(tables), failures))
    plans = plans_of(failures.remaining(tables), layers, side, failures)
    blocks = {group: FeatureBlocks(tables[group].shape[0]) for group, plan in plans.items() if len(plan) > 1}
    users: dict[str, list[tuple[str, Reading]]] = {name: [] for name in layers}
    for group, plan in plans.items():
        for reading in plan:
            users[reading.parameter].append((group, reading))
    layers = {name: modules for name, modules in layers.items() if users[name]}
    together = [name for name in layers if any(group in blocks for group, _ in users[name])]
    sides = {name: {reading.output for _, reading in of_layer} for name, of_layer in users.items()}
    inputs_only = {name for name in layers if sides[name] == {False}}
    called: Counter[str] = Counter()
    held: Counter[str] = Counter()
    tracer = Tracer(bare, layers, lambda batch: run_batch(bare, batch) if loss is None else loss(bare, batch))

    def step(index: int, batch: Any) -> None:
        before = Counter(called)
        masks = Masks(bare, named_batch(bare, batch) if loss is None else batch)
        unplaced: list[Unplaced] = []

        def hand_on(name: str, output: bool, stream: str, tokens: Tensor) -> None:
            check_finite(tokens, "activation", name, index)
            held[name] += len(tokens)
            for group, reading in users[name]:
                if reading.output != output or group in failures.reasons:
                    continue
                with failures.of_table(group):
                    piece = of_nodes(tokens, reading.features)
                    if group in blocks:
                        blocks[group].add((reading.at[1], stream), reading.at[0], piece)
                    else:
                        sink(group, piece)

        def hook(name: str) -> Hook:
            stream = stream_of_signal(bare, name)

            def read(layer: Layer, x: Tensor, output: Tensor, routed: Routed | None) -> None:
                if failures.has_layer(name):
                    return
                number, mask = called[name] - before[name], masks.of(stream)
                place: Placement | None = None
                if routed is not None:
                    place = of_expert(name, len(rows_of(x)), routed, mask)
                    if not len(place.rows):  # nothing but padding
                        return
                    if routed.bias is not None and True in sides[name]:
                        output = output + routed.bias
                called[name] += 1
                for side in sides[name]:
                    signal = (output if side else x).detach()
                    signal = signal.to(accumulation_dtype(signal))
                    if routed is None:
                        place = tracer.placed(name, signal, mask, masks.has_others)
                    if place is not None:
                        # A copy, since the model may change the activation in place after this.
                        hand_on(name, side, stream, rows_of(signal)[place.rows.to(signal.device)])
                    elif mask is not None:
                        known = masks.has_tokens(stream)
                        unplaced.append(Unplaced(name, side, number, stream, signal.clone(), mask, known))

            return read

        with torch.no_grad():
            with forward_hooks(layers, hook, failures, inputs_only), masks.watched():
                tracer.run(batch)
            calls = [call for call in unplaced if not failures.has_layer(call.name)]
            found = tracer.trace(batch, masks, calls) if calls else []
            for call, real in zip(calls, found, strict=True):
                if not failures.has_layer(call.name):
                    with failures.of_layer(call.name):
                        rows = told(call, real)
                        hand_on(call.name, call.output, call.stream, rows_of(call.signal)[rows])
        failures.check_called(together, [name for name in together if called[name] > before[name]])
        for group, kept in blocks.items():
            if group not in failures.reasons:
                with failures.of_table(group):
                    sink(group, kept.take())

    yield from passes(bare, batches, step)
    failures.check_called(layers, called)
    for name in called:
        if not held[name] and not failures.has_layer(name):
            with failures.of_layer(name):
                raise ValueError(f"none of the texts has a token that is no padding at the layer of {name!r}")


def without_embeddings(layers: Mapping[str, list[Layer]]) -> dict[str, list[Layer]]:
    """Leave out the look-ups that share a weight with a layer: tokens go into them, and no features."""
    return {
        name: [module for module in modules if not isinstance(module, nn.Embedding)]
        for name, modules in layers.items()
    }


def plans_of(
    tables: Mapping[str, NodeTable], layers: Mapping[str, list[Layer]], side: Side, failures: Failures
) -> dict[str, list["Reading"]]:
    """List what the nodes of each table read; without those of tables that have no such side."""
    transposed = frozenset(
        name for name, using in layers.items() if any(is_transposed(layer) for layer in using)
    )
    plans = {}
    for group, table in tables.items():
        with failures.of_table(group):
            plans[group] = readings(table, transposed, side)
    return plans


def of_nodes(tokens: Tensor, features: Tensor) -> Tensor:
    """Turn (tokens, features) into (nodes, tokens x size)."""
    nodes, size = features.shape
    if size == 1 and nodes == tokens.shape[1]:
        return tokens.T
    own = tokens[:, features.flatten().to(tokens.device)].reshape(-1, nodes, size)
    return own.transpose(0, 1).reshape(nodes, -1)


@dataclass(frozen=True)
class Reading:
    """What some nodes of a table read at one layer."""

    parameter: str
    at: tuple[int, int]  # first node, and column of the table, which tells a node's layers apart
    output: bool  # or at the layer's input
    features: Int64[Tensor, "nodes size"]  # which of the layer's features belong to each node


def readings(table: NodeTable, transposed: frozenset[str], side: Side) -> list[Reading]:
    """List what the nodes of a table read of activations.

    A node that is a part of the output features of its layers (rows, key/value heads) reads the outputs, one
    that is a part of the input features (columns) the inputs. A query head is both: its part of the output
    projection's input, which is what the head computes, or its query vectors ("output"). A whole matrix
    (layers) reads all its outputs, or all its inputs. "auto" is inputs for columns and for heads with a part of an
    output projection, outputs for all others. Every node reads as much as every other. `transposed` parameters are
    stored as (in, out).
    """
    axes = [_node_axis(part) for part in table.slices]
    if None in axes:
        tiled = table.slices[axes.index(None)].parameter
        raise ValueError(
            f"activations do not belong to the nodes of {table}: a node is a tile of {tiled!r}, and the tiles "
            "beside it have the same outputs, those below it the same inputs; take rows or columns"
        )
    found: dict[bool, list[Reading]] = {True: [], False: []}
    for part, axis in zip(table.slices, axes, strict=True):
        for output, readable in found.items():
            # Stored rows are the output features of a Linear and the input features of a Conv1D.
            stored = int(output == (part.parameter in transposed))
            if axis in (stored, -1):
                readable.append(Reading(part.parameter, part.at, output, _features(part, stored)))
    inputs_first = bool(found[False]) and table.scheme in ("columns", "heads")
    output = side == "output" or (side == "auto" and not inputs_first)
    if not found[output]:
        here, there = ("output", "input") if output else ("input", "output")
        raise ValueError(
            f"the nodes of {table} are {there} features of their layers, so there is no side={here!r}: "
            f"side={there!r} is possible, or the scheme {'rows' if output else 'columns'!r}"
        )
    covered = torch.zeros(table.shape[0], dtype=torch.int64, device="cpu")
    for reading in found[output]:
        first, (nodes, size) = reading.at[0], reading.features.shape
        covered[first : first + nodes] += size
    if len(set(covered.tolist())) > 1:
        raise ValueError(
            f"the nodes of {table} read different numbers of {'out' if output else 'in'}puts: "
            f"{sorted(set(covered.tolist()))}"
        )
    return found[output]


def _node_axis(part: ParameterSlice) -> int | None:
    """Say along which stored axis the nodes lie: 0, 1, -1 for a whole matrix, None for both."""
    if part.node_axes == 0:
        return -1 if part.is_whole else None
    rows = _axes_of_rows(part)
    along = {0 if axis in rows else 1 for axis in part.order[: part.node_axes]}
    across = [a for a in part.order if (0 if a in rows else 1) not in along]
    # A part of both sides is a tile, whichever way its nodes run.
    whole = all(part.sizes[a] == part.view[a] for a in across)
    return along.pop() if len(along) == 1 and whole else None


def _axes_of_rows(part: ParameterSlice) -> range:
    """Find the axes of the view that the stored rows were split into."""
    sizes = list(accumulate(part.view, mul))
    return range(sizes.index(part.shape[0]) + 1 if part.shape[0] in sizes else 0)


def _features(part: ParameterSlice, stored: int) -> Int64[Tensor, "nodes size"]:
    """Index the features along a stored axis that belong to each node."""
    if part.node_axes == 0:
        return torch.arange(part.shape[stored], device="cpu")[None]
    rows = _axes_of_rows(part)
    own = [axis for axis in range(len(part.view)) if (axis in rows) == (stored == 0)]
    index = torch.arange(part.shape[stored], device="cpu").reshape([part.view[axis] for axis in own])
    index = index[tuple(slice(*part.bounds[axis]) for axis in own)]
    order = [own.index(axis) for axis in part.order if axis in own]
    return index.permute(order).reshape(part.nodes, -1)
