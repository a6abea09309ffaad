"""One batch through a model: how to run it, its loss, and what is checked of what was measured on the way."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.nodes import NodeTable

Batches = Iterable[Any]
Loss = Callable[[nn.Module, Any], Tensor]
Sink = Callable[[str, Tensor], None]


def parameters_of(tables: Mapping[str, NodeTable]) -> list[str]:
    """List the parameters of some tables.

    Parameters
    ----------
    tables : mapping of str to NodeTable
        The tables.

    Returns
    -------
    list of str
        Each name once, in the order of the tables.
    """
    return list(dict.fromkeys(name for table in tables.values() for name in table.parameters))


def run_batch(model: nn.Module, batch: Any) -> Any:
    """Run a model on a batch.

    Parameters
    ----------
    model : nn.Module
        The bare model.
    batch : object
        A mapping runs as `model(**batch)`; a tuple or list as `model(*batch)`, without the last entries for
        which `forward` has no argument; anything else as `model(batch)`.

    Returns
    -------
    object
        What the model returned.
    """
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


def batch_loss(model: nn.Module, batch: Any, loss: Loss | None, index: int) -> Tensor:
    """Compute the loss of a batch.

    Parameters
    ----------
    model : nn.Module
        The bare model.
    batch : object
        What `loss` takes; a mapping where `loss` is None.
    loss : callable (model, batch) -> Tensor, optional
        By default `model(**batch).loss`.
    index : int
        Number of the batch, for messages.

    Returns
    -------
    Tensor of shape ()
        The loss.

    Raises
    ------
    ValueError
        If there is none, it is not one number, or it is not finite.
    """
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


def check_finite(value: Tensor, what: str, name: str, index: int) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    value : Tensor
        What was measured.
    what : str
        What it is, as "gradient".
    name : str
        Where it was measured.
    index : int
        Number of the batch.

    Raises
    ------
    ValueError
        If an entry is not finite.
    """
    if not torch.isfinite(value).all():
        raise ValueError(
            f"NaN or infinite {what} at {name!r} in batch {index}: a diverged model, an overflow in half "
            "precision, or a broken example"
        )


def check_called(names: Iterable[str], called: Collection[str]) -> None:
    """Refuse layers that did not run.

    Parameters
    ----------
    names : iterable of str
        Parameters whose layers should have run.
    called : collection of str
        Parameters whose layers ran.

    Raises
    ------
    ValueError
        If one did not.
    """
    idle = [name for name in names if name not in called]
    if idle:
        raise ValueError(
            f"the layers of {idle} were never called, so they have no gradients or activations: leave them "
            "out with exclude=[...] (a layer whose weight is read without calling it cannot be measured)"
        )
