"""Passes over batches that hand the gradients of many tables on, piece by piece."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from paramgraph.nodes import NodeTable, TableAssembly, unwrap
from paramgraph.sources._capture import GradientCapture, layers_of
from paramgraph.sources._expert_products import by_matrix
from paramgraph.sources._failures import Failures, OnFailure
from paramgraph.sources._passes import (
    Batches,
    Loss,
    Sink,
    batch_loss,
    check_finite,
    passes,
)


def gradient_passes(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    sink: Sink,
    on_failure: OnFailure | None = None,
) -> Iterator[None]:
    """Hand on the gradients (nodes, width) of each table, one matrix at a time while the backward pass runs.

    A table of one matrix needs no more memory than that matrix and goes at once. A table of many (heads, layers)
    is filled matrix by matrix and waits for the last: its own memory, once, and freed before the next batch.
    """
    bare = unwrap(model)
    tables = by_matrix(tables)
    failures = Failures(tables, on_failure)
    # One for each table, so that what fails is dropped and the others stay whole.
    assemblies = {group: TableAssembly({group: table}, sink) for group, table in tables.items()}
    users: dict[str, list[str]] = {}
    for group, table in tables.items():
        for name in table.parameters:
            users.setdefault(name, []).append(group)
    batch_index = 0

    def consume(name: str, gradient: Tensor) -> None:
        check_finite(gradient, "gradient", name, batch_index)
        for group in users[name]:
            if group not in failures.reasons:
                with failures.of_table(group):
                    assemblies[group].add(name, gradient)

    layers = layers_of(bare, users, failures)
    capture = GradientCapture(layers, consume, failures)

    def step(index: int, batch: Any) -> None:
        nonlocal batch_index
        batch_index = index
        capture.run(lambda: batch_loss(bare, batch, loss, index))
        for group in failures.reasons:
            assemblies.pop(group, None)  # what it holds of the batch is not waited for

    yield from passes(bare, batches, step)
    failures.check_called(layers, capture.called)
