"""Features of the nodes of many tables, in one pass over the batches."""

from collections.abc import Iterator, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.checkpoints import ModelLike
from paramgraph.nodes import NodeTable
from paramgraph.sources._failures import OnFailure
from paramgraph.sources._gradient_passes import gradient_passes
from paramgraph.sources._passes import Batches, Loss
from paramgraph.sources.source import SourceLike, as_source


def collect(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    source: SourceLike,
    batches: Batches | None = None,
    loss: Loss | None = None,
    tuned: ModelLike | None = None,
    options: Mapping[str, object] | None = None,
    on_failure: OnFailure | None = None,
) -> dict[str, Float[Tensor, "nodes features"]]:
    """Measure the features of many tables in one pass over the batches.

    An expert of a stack is measured by the products that the model makes with its matrix, on the tokens routed to it.
    Meanwhile transformers' grouped and batched experts run as its loop over experts ("eager"), whose outputs agree up
    to rounding; the config is put back.

    Parameters
    ----------
    model : nn.Module
        The model that the tables were made from; wrappers are taken off.
    tables : mapping of str to NodeTable
        From `paramgraph.node_tables`.
    source : str or callable (model, table, batches) -> Tensor
        "weights"; "gradients" (their mean over batches); "batch_gradients" (`gradients` with the reduction
        "batches"); "activations", "output_gradients" and "attention_maps", in short "attention" (all compressed where
        there are more features than nodes + 1); "updates" (from `model` to `tuned`); or your own function, which is
        called once per table, with the batches as a list.
    batches : iterable, optional
        Iterated once. Needed by all named sources but "weights" and "updates".
    loss : callable (model, batch) -> Tensor, optional
        As in `gradients`.
    tuned : nn.Module, mapping of str to Tensor, str or path, optional
        For "updates" alone, and needed there: the fine-tuned model or adapter, as in `updates`.
    options : mapping of str to object, optional
        Options of the source, by name: "side" of "activations"; "objective" and "seed" of "output_gradients".
    on_failure : callable (group, reason), optional
        Told once of each table that has no features for a reason of its own: its layer is never called, is given or
        returns no tensor of its size, has NaN, is quantized where weights are read, or fails in another way. The table
        is left out then and the others go on. By default the first failure is raised.

    Returns
    -------
    dict of str to Tensor (nodes, features)
        Under the keys of `tables`, without those that `on_failure` was told of.

    Raises
    ------
    UnknownNameError
        If no source has that name.
    TypeError
        If the source has no such option.
    ValueError
        As in `gradients`, `activations`, `output_gradients`, `attention_maps` and `updates`; if the source gives no
        features of the tables' scheme (`source_refusal`); if `tuned` is missing, or given for another source; or if a
        source of your own returns no matrix with a row per node.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    >>> {name: tuple(x.shape) for name, x in collect(model, rows(model), "weights").items()}
    {'0.weight': (8, 4), '1.weight': (2, 8)}
    """
    return as_source(source, **(options or {})).collect(model, tables, batches, loss, tuned, on_failure)


def collect_in_turn(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    source: SourceLike,
    batches: Batches | None = None,
    loss: Loss | None = None,
    options: Mapping[str, object] | None = None,
    on_failure: OnFailure | None = None,
) -> Mapping[str, Float[Tensor, "nodes features"]]:
    """Measure as `collect` does, and give a mapping with `pop` whose features are made one table at a time.

    No second model's worth of features is in memory: sums that are large lie in a temporary file meanwhile.
    """
    return as_source(source, **(options or {})).collect_in_turn(model, tables, batches, loss, on_failure)


def collect_batch_gradients(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None = None,
    on_failure: OnFailure | None = None,
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
    on_failure : callable (group, reason), optional
        As in `collect`. A table is in no dictionary from its failure on; that its layer was never called is known, and
        told, after the last batch.

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
    failed: set[str] = set()

    def leave_out(group: str, reason: str) -> None:
        failed.add(group)
        of_batch.pop(group, None)
        assert on_failure is not None
        on_failure(group, reason)

    told = None if on_failure is None else leave_out
    for _ in gradient_passes(model, tables, batches, loss, of_batch.__setitem__, told):
        yield {group: of_batch.pop(group) for group in tables if group not in failed}
