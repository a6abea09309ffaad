"""Passes over batches that hand on what flows into and out of the layers of tables."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from paramgraph.nodes import NodeTable, unwrap
from paramgraph.sources._activation_passes import Reading, readings
from paramgraph.sources._capture import Hook, forward_hooks, layers_of
from paramgraph.sources._feature_blocks import FeatureBlocks
from paramgraph.sources._passes import (
    Batches,
    Loss,
    Sink,
    check_called,
    check_finite,
    parameters_of,
    run_batch,
)
from paramgraph.sources._token_streams import real_tokens, stream_of_signal
from paramgraph.sources.measurement import passes


def activation_passes(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    sink: Sink,
    side: str = "auto",
) -> Iterator[None]:
    """Hand on the inputs or outputs of the layers of some tables.

    Parameters
    ----------
    model : nn.Module
        Wrapped or bare.
    tables : mapping of str to NodeTable
        Which layers.
    batches : iterable
        Iterated once.
    loss : callable (model, batch), optional
        How to run a batch, if not as `model(**batch)`.
    sink : callable (group, features)
        Gets (nodes, features) once per table and call of its layer, or once per table and batch where a table has
        several layers.
    side : str, default "auto"
        As in `paramgraph.activations`.

    Yields
    ------
    None
        After each batch.

    Raises
    ------
    ValueError
        If a table has no such side, an activation is not finite, or a layer was called for no batch.
    """
    bare = unwrap(model)
    layers = {
        name: [module for module in modules if not isinstance(module, nn.Embedding)]
        for name, modules in layers_of(bare, parameters_of(tables)).items()
    }
    transposed = frozenset(
        name for name, modules in layers.items() if any(isinstance(module, Conv1D) for module in modules)
    )
    plans = {group: readings(table, transposed, side) for group, table in tables.items()}
    blocks = {group: FeatureBlocks(tables[group].shape[0]) for group, plan in plans.items() if len(plan) > 1}
    users: dict[str, list[tuple[str, Reading]]] = {name: [] for name in layers}
    for group, plan in plans.items():
        for reading in plan:
            users[reading.parameter].append((group, reading))
    layers = {name: modules for name, modules in layers.items() if users[name]}
    together = [name for name in layers if any(group in blocks for group, _ in users[name])]
    called: set[str] = set()

    def step(index: int, batch: Any) -> None:
        called.difference_update(together)

        def hook(name: str) -> Hook:
            stream = stream_of_signal(bare, name)
            mask = real_tokens(bare, batch, stream)

            def read(module: nn.Module, x: Tensor, output: Tensor) -> None:
                called.add(name)
                for group, reading in users[name]:
                    tokens = _real_tokens(output if reading.output else x, mask)
                    check_finite(tokens, "activation", name, index)
                    piece = _of_nodes(tokens, reading.features)
                    if group in blocks:
                        blocks[group].add((reading.at[1], stream), reading.at[0], piece)
                    else:
                        sink(group, piece)

            return read

        with torch.no_grad(), forward_hooks(layers, hook):
            run_batch(bare, batch) if loss is None else loss(bare, batch)
        check_called(together, called)
        for group, kept in blocks.items():
            sink(group, kept.take())

    yield from passes(bare, batches, step)
    check_called(layers, called)


def _of_nodes(tokens: Tensor, features: Tensor) -> Tensor:
    """Turn (tokens, features) into (nodes, tokens x size)."""
    nodes, size = features.shape
    if size == 1 and nodes == tokens.shape[1]:
        return tokens.T
    own = tokens[:, features.flatten().to(tokens.device)].reshape(-1, nodes, size)
    return own.transpose(0, 1).reshape(nodes, -1)


def _real_tokens(signal: Tensor, mask: Tensor | None) -> Tensor:
    signal = signal.detach().to(torch.promote_types(signal.dtype, torch.float32))
    if mask is not None and mask.shape == signal.shape[:-1]:
        return signal[mask]
    # A clone, since the model may change the activation in place after this.
    return signal.reshape(-1, signal.shape[-1]).clone()
