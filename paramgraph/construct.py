"""From a model and a table of nodes to a graph, in one call."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch_geometric.data import Data

from paramgraph.graph_contract import check_graph
from paramgraph.nodes import NodeTable, one_table
from paramgraph.registry import get_builder
from paramgraph.sources import collect


def build(
    model: nn.Module,
    table: NodeTable,
    builder: str | Callable[[Data], Data],
    source: str | Callable[..., Any] = "weights",
    batches: Iterable[Any] | None = None,
    loss: Callable[..., Any] | None = None,
    tuned: Any = None,
    **options: Any,
) -> Data:
    """Build the graph of a table of parameters.

    Parameters
    ----------
    model : torch.nn.Module
        The model; left as it was.
    table : NodeTable
        Which slices of parameters are the nodes.
    builder : str or callable
        A registered name, or any callable `Data -> Data` such as a PyG transform.
    source : str or callable, default "weights"
        Where features come from: "weights", "gradients", "batch_gradients", "activations", "attention_maps",
        "updates", or a function `(model, table, batches) -> Tensor`.
    batches : iterable, optional
        Calibration batches, for the sources that run the model.
    loss : callable, optional
        `(model, batch) -> scalar`; by default `model(**batch).loss`.
    tuned : torch.nn.Module, mapping of str to Tensor, str or path, optional
        For the source "updates" alone: the model after fine-tuning, as in `paramgraph.updates`; `model` is the one
        before.
    **options : object
        Options of the named builder. A builder that wraps another is given ready made, as
        `get_builder("permuted", builder="cosine_knn")`.

    Returns
    -------
    torch_geometric.data.Data
        The graph, checked against the contract, with the features as `x` and the strings `builder` and
        `source` that say where it comes from.

    Raises
    ------
    ValueError
        If the builder or the source refuses, or what the builder returns is no graph; the message names it. A
        builder with a method `check_nodes(nodes)` is asked before the source runs.

    Examples
    --------
    >>> import torch
    >>> from paramgraph.schemes import rows
    >>> model = nn.Linear(4, 8)
    >>> build(model, rows(model)["weight"], "cosine_knn", k=3).builder
    "CosineKNN(k=3, signed=False, mutual=False, connect='none', search='exact')"
    """
    make = get_builder(builder, **options)
    tables = one_table(table)
    check_nodes = getattr(make, "check_nodes", None)
    if check_nodes is not None:
        check_nodes(table.shape[0])
    features = collect(model, tables, source, batches=batches, loss=loss, tuned=tuned)[table.group]
    made = make(table.to_data(features))
    try:
        graph = check_graph(made)
    except (TypeError, ValueError) as error:
        raise ValueError(f"builder {make!r} gave a broken graph: {error}") from error
    if graph.num_nodes != table.shape[0]:
        raise ValueError(
            f"builder {make!r} gave a graph of {graph.num_nodes} nodes for a table of {table.shape[0]}"
        )
    graph = copy.copy(graph)  # a callable may hand out a graph that it keeps
    graph.builder = repr(make)
    graph.source = source if isinstance(source, str) else getattr(source, "__qualname__", repr(source))
    return graph
