"""From a model and a table of nodes to a graph, in one call; or from features that are there already."""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from paramgraph.cache import GraphCache, is_described
from paramgraph.checkpoints import ModelLike
from paramgraph.digests import readable
from paramgraph.errors import users_level
from paramgraph.graphs import BuilderLike, GraphBuilder, as_builder, check_graph
from paramgraph.nodes import NodeTable, one_table
from paramgraph.sources import Batches, Loss, SourceLike, collect


def build(
    model: nn.Module,
    table: NodeTable,
    builder: BuilderLike,
    source: SourceLike = "weights",
    batches: Batches | None = None,
    loss: Loss | None = None,
    tuned: ModelLike | None = None,
    cache: GraphCache | None = None,
    source_options: Mapping[str, object] | None = None,
    **options: Any,  # whatever the builder takes: it checks them
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
        Where features come from: "weights", "gradients", "batch_gradients", "activations", "output_gradients",
        "attention_maps", "updates", or a function `(model, table, batches) -> Tensor`.
    batches : iterable, optional
        Calibration batches, for the sources that run the model.
    loss : callable, optional
        `(model, batch) -> scalar`; by default `model(**batch).loss`.
    tuned : torch.nn.Module, mapping of str to Tensor, str or path, optional
        For the source "updates" alone: the model after fine-tuning, as in `paramgraph.updates`; `model` is the one
        before.
    cache : GraphCache, optional
        Where graphs of the same content are looked for, and kept; features are read in any case.
    source_options : mapping of str to object, optional
        Options of the source by name, as in `collect`: `{"objective": "labels"}` of "output_gradients".
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
        If the builder or the source refuses, or what the builder returns is no graph; the message names it. The
        builder's `check_nodes` is asked before the source runs.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> model = nn.Linear(4, 8)
    >>> build(model, rows(model)["weight"], "cosine_knn", k=3).builder
    "CosineKNN(k=3, signed=False, mutual=False, connect='none', search='exact')"
    """
    make = as_builder(builder, **options)
    tables = one_table(table)
    make.check_nodes(table.shape[0])
    features = collect(model, tables, source, batches, loss, tuned, source_options)[table.group]
    graph = connect(table, features, make, cache)
    graph.source = source_name(source)
    return graph


def connect(
    table: NodeTable,
    features: Float[Tensor, "nodes features"],
    builder: BuilderLike,
    cache: GraphCache | None = None,
) -> Data:
    """Build the graph of a table from features of its nodes.

    Parameters
    ----------
    table : NodeTable
        The nodes.
    features : Tensor of shape (nodes, features)
        From `collect`, or your own; not changed, whatever a callable of yours does with its `x`.
    builder : str or callable
        From `get_builder`, any callable `Data -> Data`, or the name of a builder that needs no options.
    cache : GraphCache, optional
        Where graphs of the same content are looked for, and kept.

    Returns
    -------
    torch_geometric.data.Data
        The graph, checked against the contract, with the features as `x` and the string `builder`. What the builder
        warns of names the table.

    Raises
    ------
    ValueError
        If the builder refuses, or what it returns is no graph of these nodes; the message names it.

    Examples
    --------
    >>> from paramgraph import Ring, rows
    >>> table = rows(nn.Sequential(nn.Linear(4, 8)))["0.weight"]
    >>> connect(table, table.gather({"0.weight": nn.Linear(4, 8).weight.detach()}), Ring()).num_edges
    16
    """
    make = as_builder(builder)
    # Features may be a view of the weights, and a callable of yours may write on them.
    data = table.to_data(features if is_described(make) else features.clone())
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            if cache is None:
                return _checked(table, make, make(data))
            return cache.graph(make, data, lambda: _checked(table, make, make(data)))
    finally:
        # A builder knows no table, and the reader of its warning may have read thirty. The name comes last, as filters
        # match the beginning.
        for one in told:
            warnings.warn(f"{one.message} (in {table.group})", one.category, stacklevel=users_level())


def source_name(source: SourceLike) -> str:
    """Name a source for tables and records; a function by its qualified name."""
    return source if isinstance(source, str) else readable(source)


def _checked(table: NodeTable, make: GraphBuilder, made: Any) -> Data:
    try:
        graph = check_graph(made)
    except (TypeError, ValueError) as error:
        raise ValueError(f"builder {readable(make)} gave a broken graph: {error}") from error
    if graph.num_nodes != table.shape[0]:
        raise ValueError(
            f"builder {readable(make)} gave a graph of {graph.num_nodes} nodes for a table of {table.shape[0]}"
        )
    graph = copy.copy(graph)  # a callable may hand out a graph that it keeps
    graph.builder = readable(make)
    return graph
