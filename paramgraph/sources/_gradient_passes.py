"""Passes over batches that hand the gradients of many tables on, piece by piece."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from paramgraph.nodes import NodeTable, TableAssembly, unwrap
from paramgraph.sources._capture import GradientCapture, layers_of
from paramgraph.sources._passes import (
    Batches,
    Loss,
    Sink,
    batch_loss,
    check_called,
    check_finite,
    parameters_of,
)
from paramgraph.sources.measurement import passes


def gradient_passes(
    model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches | None, loss: Loss | None, sink: Sink
) -> Iterator[None]:
    """Hand on the gradients of each table, one matrix at a time while the backward pass runs.

    A table of one matrix needs no more memory than that matrix and goes at once. A table of many (heads, layers)
    is filled matrix by matrix and waits for the last: its own memory, once, and freed before the next batch.

    Parameters
    ----------
    model : nn.Module
        Wrapped or bare.
    tables : mapping of str to NodeTable
        Which parameters.
    batches : iterable
        Iterated once.
    loss : callable (model, batch) -> Tensor, optional
        By default `model(**batch).loss`.
    sink : callable (group, features)
        Gets (nodes, width) once per table and batch.

    Yields
    ------
    None
        After each batch.

    Raises
    ------
    ValueError
        If a gradient or the loss is not finite, a layer was called for no batch, or the model checkpoints
        activations with `use_reentrant=True` in eval mode.
    """
    bare = unwrap(model)
    assembly = TableAssembly(tables, sink)
    batch_index = 0

    def consume(name: str, gradient: Tensor) -> None:
        check_finite(gradient, "gradient", name, batch_index)
        assembly.add(name, gradient)

    capture = GradientCapture(layers_of(bare, parameters_of(tables)), consume)

    def step(index: int, batch: Any) -> None:
        nonlocal batch_index
        batch_index = index
        capture.run(lambda: batch_loss(bare, batch, loss, index))

    yield from passes(bare, batches, step)
    check_called(parameters_of(tables), capture.called)
