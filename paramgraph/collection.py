"""Passes over batches that hand the gradients or activations of many tables on, piece by piece."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.capture import GradientCapture, Hook, forward_hooks, layers_of
from paramgraph.measurement import passes
from paramgraph.nodes import NodeTable
from paramgraph.targets import unwrap

Batches = Iterable[Any]
Loss = Callable[[nn.Module, Any], Tensor]
Sink = Callable[[str, Tensor], None]


def gradient_passes(
    model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches | None, loss: Loss | None, sink: Sink
) -> Iterator[None]:
    """Hand on the gradients of each table, one matrix at a time while the backward pass runs.

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
        If a gradient or the loss is not finite, or a layer was called for no batch.
    """
    bare = unwrap(model)
    waiting: dict[str, dict[str, Tensor]] = {}
    batch_index = 0

    def consume(name: str, gradient: Tensor) -> None:
        _check_finite(gradient, "gradient", name, batch_index)
        for group, table in tables.items():
            if name not in table.parameters:
                continue
            parts = waiting.setdefault(group, {})
            parts[name] = gradient
            if len(parts) == len(table.parameters):
                sink(group, table.gather(waiting.pop(group)))

    capture = GradientCapture(layers_of(bare, _parameters(tables)), consume)

    def step(index: int, batch: Any) -> None:
        nonlocal batch_index
        batch_index = index
        capture.run(lambda: _batch_loss(bare, batch, loss, index))

    yield from passes(bare, batches, step)
    _check_called(tables, capture.called)


def activation_passes(
    model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches | None, loss: Loss | None, sink: Sink
) -> Iterator[None]:
    """Hand on the outputs of the layers of "rows" tables and the inputs of those of "columns" tables.

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
        Gets (nodes, tokens) once per table and call of its layer.

    Yields
    ------
    None
        After each batch.

    Raises
    ------
    ValueError
        If a table is of another scheme, an activation is not finite, or a layer was called for no batch.
    """
    bare = unwrap(model)
    other = [table for table in tables.values() if table.scheme not in ("rows", "columns")]
    if other:
        raise ValueError(f"activations belong to the schemes 'rows' and 'columns', not to {other[0]}")
    layers = {
        name: [module for module in modules if not isinstance(module, nn.Embedding)]
        for name, modules in layers_of(bare, _parameters(tables)).items()
    }
    called: set[str] = set()

    def step(index: int, batch: Any) -> None:
        mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None

        def hook(name: str) -> Hook:
            def read(module: nn.Module, x: Tensor, output: Tensor) -> None:
                called.add(name)
                for group, table in tables.items():
                    if name in table.parameters:
                        tokens = _real_tokens(output if table.scheme == "rows" else x, mask)
                        _check_finite(tokens, "activation", name, index)
                        sink(group, tokens.T)

            return read

        with torch.no_grad(), forward_hooks(layers, hook):
            _run(bare, batch) if loss is None else loss(bare, batch)

    yield from passes(bare, batches, step)
    _check_called(tables, called)


def _parameters(tables: Mapping[str, NodeTable]) -> list[str]:
    return list(dict.fromkeys(name for table in tables.values() for name in table.parameters))


def _run(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, tuple | list):
        return model(*batch[: _positional_arguments(model)])  # a loader's (inputs, labels): labels come last
    return model(batch)


def _positional_arguments(model: nn.Module) -> int | None:
    """Count what `forward` takes by position; None for any number."""
    kinds = [argument.kind for argument in inspect.signature(model.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return sum(
        kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds
    )


def _batch_loss(model: nn.Module, batch: Any, loss: Loss | None, index: int) -> Tensor:
    if loss is not None:
        value: Any = loss(model, batch)
    elif not isinstance(batch, Mapping):
        raise ValueError(
            f"loss=None means model(**batch).loss, but batch {index} is a {type(batch).__name__}; "
            "pass loss=lambda model, batch: ..."
        )
    else:
        outputs = model(**batch)
        value = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
        if value is None:
            raise ValueError(
                f"{type(model).__name__} returned no loss for batch {index} with the keys {sorted(batch)}: "
                "put labels into the batch, or pass loss=lambda model, batch: ..."
            )
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"the loss must be a tensor with one number, got {got}; return its mean")
    if not torch.isfinite(value).all():
        raise ValueError(f"the loss of batch {index} is {value.item()}; gradients are not defined")
    return value.reshape(())


def _real_tokens(signal: Tensor, mask: Tensor | None) -> Tensor:
    signal = signal.detach().to(torch.promote_types(signal.dtype, torch.float32))
    if isinstance(mask, Tensor) and mask.shape == signal.shape[:-1]:
        return signal[mask == 1]
    # A clone, since the model may change the activation in place after this.
    return signal.reshape(-1, signal.shape[-1]).clone()


def _check_finite(value: Tensor, what: str, name: str, index: int) -> None:
    if not torch.isfinite(value).all():
        raise ValueError(
            f"NaN or infinite {what} at {name!r} in batch {index}: a diverged model, an overflow in half "
            "precision, or a broken example"
        )


def _check_called(tables: Mapping[str, NodeTable], called: set[str]) -> None:
    idle = [name for name in _parameters(tables) if name not in called]
    if idle:
        raise ValueError(
            f"the layers of {idle} were never called, so they have no gradients or activations: leave them "
            "out with exclude=[...] (a layer whose weight is read without calling it cannot be measured)"
        )
