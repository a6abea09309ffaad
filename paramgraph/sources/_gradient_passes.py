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
    passes,
)


def gradient_passes(
    model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches | None, loss: Loss | None, sink: Sink
) -> Iterator[None]:
    """Hand on the gradients (nodes, width) of each table, one matrix at a time while the backward pass runs.

    A table of one matrix needs no more memory than that matrix and goes at once. A table of many (heads, layers)
    is filled matrix by matrix and waits for the last: its own memory, once, and freed before the next batch.
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
