"""Sources: what a graph of parameters is built from, as features of the nodes.

Every source returns a tensor (nodes, features) in the table's order. None of them changes parameters,
`.grad`, buffers, hooks, `requires_grad`, train or eval mode, or any global random state; batches run in eval
mode, without dropout. `collect` measures all tables of a model in one pass over the batches.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.errors import UnknownNameError
from paramgraph.nodes import NodeTable, unwrap
from paramgraph.sources._attention_passes import attention_passes
from paramgraph.sources._gradient_passes import gradient_passes
from paramgraph.sources._passes import Batches, Loss
from paramgraph.sources.accumulators import MeanFeatures, StreamingGram
from paramgraph.sources.activation_reading import activation_passes
from paramgraph.sources.parameter_updates import collect_updates
from paramgraph.sources.source_support import check_scheme, scheme_refusal
from paramgraph.sources.table_features import Source, activations, attention_maps, gradients, reduced, weights

__all__ = [
    "SOURCES",
    "activations",
    "attention_maps",
    "collect",
    "collect_batch_gradients",
    "gradients",
    "source_refusal",
    "weights",
]


def source_refusal(source: str, scheme: str) -> str:
    """Say why a source gives no features of the nodes of a scheme.

    Parameters
    ----------
    source : str
        Name of a source.
    scheme : str
        Name of a scheme; a scheme of your own is refused nothing but what is known to need another.

    Returns
    -------
    str
        The reason; "" where it does.

    Raises
    ------
    UnknownNameError
        If no source has that name.

    Examples
    --------
    >>> source_refusal("weights", "blocks")
    ''
    >>> source_refusal("attention_maps", "rows")
    "attention maps belong to heads, not to 'rows': make the tables with scheme='heads'"
    """
    source = SHORT_NAMES.get(source, source)
    if source not in SOURCES:
        raise UnknownNameError.among("source", source, SOURCES)
    return scheme_refusal(source, scheme)


def collect(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    source: str | Callable[..., Tensor],
    batches: Batches | None = None,
    loss: Loss | None = None,
    tuned: Any = None,
) -> dict[str, Float[Tensor, "nodes features"]]:
    """Measure the features of many tables in one pass over the batches.

    Parameters
    ----------
    model : nn.Module
        The model that the tables were made from; wrappers are taken off.
    tables : mapping of str to NodeTable
        From `paramgraph.node_tables`.
    source : str or callable (model, table, batches) -> Tensor
        "weights"; "gradients" (their mean over batches); "batch_gradients" (`gradients` with the reduction
        "batches"); "activations" and "attention_maps", in short "attention" (both compressed where there are more
        features than nodes + 1); "updates" (from `model` to `tuned`); or your own function, which is called once
        per table, with the batches as a list.
    batches : iterable, optional
        Iterated once. Needed by all named sources but "weights" and "updates".
    loss : callable (model, batch) -> Tensor, optional
        As in `gradients`.
    tuned : nn.Module, mapping of str to Tensor, str or path, optional
        For "updates" alone, and needed there: the fine-tuned model or adapter, as in `updates`.

    Returns
    -------
    dict of str to Tensor (nodes, features)
        Under the keys of `tables`.

    Raises
    ------
    UnknownNameError
        If no source has that name.
    ValueError
        As in `gradients`, `activations`, `attention_maps` and `updates`; if the source gives no features of the
        tables' scheme (`source_refusal`); if `tuned` is missing, or given for another source; or if a source of
        your own returns no matrix with a row per node.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    >>> {name: tuple(x.shape) for name, x in collect(model, rows(model), "weights").items()}
    {'0.weight': (8, 4), '1.weight': (2, 8)}
    """
    if not callable(source):
        source = SHORT_NAMES.get(source, source)
        if source not in SOURCES:
            raise UnknownNameError.among("source", source, SOURCES)
        check_scheme(source, tables.values())
    if tuned is not None and source != "updates":
        raise ValueError(f"tuned is read by the source 'updates' alone, not by {source!r}: leave it out")
    if callable(source):
        return _collect_with(source, model, tables, batches)
    options = {} if tuned is None else {"tuned": tuned}
    return SOURCES[source](model, tables, batches, loss, **options)


def collect_batch_gradients(
    model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches | None, loss: Loss | None = None
) -> Iterator[dict[str, Float[Tensor, "nodes width"]]]:
    """Give the gradients of each batch in turn, to be reduced by the caller.

    Between two batches the model and all random states are as they were found, so the caller may train or
    draw.

    Parameters
    ----------
    model : nn.Module
        The model that the tables were made from; wrappers are taken off.
    tables : mapping of str to NodeTable
        From `paramgraph.node_tables`.
    batches : iterable
        Iterated once.
    loss : callable (model, batch) -> Tensor, optional
        As in `gradients`.

    Yields
    ------
    dict of str to Tensor (nodes, width)
        The gradients of one batch, under the keys of `tables`.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8))
    >>> batches = torch.ones(3, 2, 4).unbind()
    >>> per_batch = collect_batch_gradients(model, rows(model), batches, lambda model, x: model(x).sum())
    >>> [gradients["0.weight"].mean().item() for gradients in per_batch]
    [2.0, 2.0, 2.0]
    """
    of_batch: dict[str, Tensor] = {}
    for _ in gradient_passes(model, tables, batches, loss, of_batch.__setitem__):
        yield {group: of_batch.pop(group) for group in tables}


def _collect_updates(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    tuned: Any = None,
) -> dict[str, Tensor]:
    if tuned is None:
        raise ValueError("the source 'updates' needs tuned=..., the fine-tuned model, its folder or adapter")
    return collect_updates(unwrap(model), tuned, tables)


def _collect_weights(
    model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches | None, loss: Loss | None
) -> dict[str, Tensor]:
    return {group: weights(model, table) for group, table in tables.items()}


def _collect_with(
    source: Callable[..., Tensor], model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches | None
) -> dict[str, Tensor]:
    # Each table needs its own pass, which an iterator has only once.
    again = None if batches is None else list(batches)
    found = {group: source(model, table, again) for group, table in tables.items()}
    for group, features in found.items():
        nodes = len(tables[group].names)
        if not isinstance(features, Tensor) or features.ndim != 2 or features.shape[0] != nodes:
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"source: expected a tensor ({nodes}, features) for {group!r}, got {got}")
    return found


SOURCES: dict[str, Source] = {
    "weights": _collect_weights,
    "gradients": reduced(gradient_passes, MeanFeatures),
    "batch_gradients": reduced(gradient_passes, StreamingGram),
    "activations": reduced(activation_passes, StreamingGram),
    "attention_maps": reduced(attention_passes, StreamingGram),
    "updates": _collect_updates,
}
SHORT_NAMES = {"attention": "attention_maps"}
