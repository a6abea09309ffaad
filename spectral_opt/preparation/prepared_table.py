"""One table with the operator of its graph, and the way there from features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse.linalg as spla
from torch import Tensor

from paramgraph.graphs import check_graph, get_builder
from paramgraph.nodes import NodeTable
from paramgraph.spectra import ShiftOperator, Spectrum, adjacency, laplacian
from spectral_opt.config import SpectralConfig

# Above this a dense eigendecomposition for one smallest eigenvalue takes minutes; Lanczos takes seconds.
_DENSE_NODES = 2048


@dataclass(frozen=True)
class PreparedTable:
    """One table with its graph's operator and filter, ready for the training step.

    The graph itself is not kept: a dense one is many times the size of its operator.

    Parameters
    ----------
    table : NodeTable
        Which parameters, and how they lie in the graph.
    nodes, edges, components : int
        Size of the graph; each undirected edge counts once.
    operator : ShiftOperator, EntryOperator or None
        Graph shift operator; None: no graph, L = 0.
    filter : GraphFilter, ProductFilter or None
        Prepared filter; None where the config has none.
    seconds : float
        Time taken by builder, operator and filter of this table.
    reason : str
        How the filter is applied and why, in words.
    spectrum : Spectrum, optional
        Eigenpairs of the operator, where they were to be kept for other responses; complete for placement "basis".
    """

    table: NodeTable
    nodes: int
    edges: int
    components: int
    operator: Any
    filter: Any
    seconds: float
    reason: str
    spectrum: Spectrum | None = None


def build_operator(table: NodeTable, config: SpectralConfig, features: Tensor) -> tuple[ShiftOperator, int]:
    """Build the graph of one table and its shift operator.

    Parameters
    ----------
    table : NodeTable
        The nodes.
    config : SpectralConfig
        Its builder, shift and normalization are read.
    features : Tensor of shape (nodes, features)
        What the builder reads.

    Returns
    -------
    operator : ShiftOperator
        Of the graph.
    edges : int
        Number of undirected edges.

    Raises
    ------
    ValueError
        If the builder fails or gives a graph of other nodes; builder and table are named.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> table = rows(torch.nn.Sequential(torch.nn.Linear(2, 8)))["0.weight"]
    >>> build_operator(table, SpectralConfig(builder="ring"), torch.zeros(8, 0))[1]
    8
    """
    graph = _build(table, config, features)
    operator = adjacency(graph) if config.shift == "adjacency" else laplacian(graph, config.normalization)
    return operator, int(graph.num_edges) // 2


def check_form(table: NodeTable, config: SpectralConfig, *operators: ShiftOperator) -> None:
    """Refuse a penalty that is unbounded below: its minimum would be at infinity.

    Parameters
    ----------
    table : NodeTable
        For the message.
    config : SpectralConfig
        Its penalty, shift and ridge are read.
    *operators : ShiftOperator
        One, or those of rows and columns, whose eigenvalues add.

    Raises
    ------
    ValueError
        If the smallest eigenvalue and the ridge are negative together.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> table = rows(torch.nn.Sequential(torch.nn.Linear(2, 8)))["0.weight"]
    >>> check_form(table, SpectralConfig(builder="ring"))
    """
    if not config.penalty or config.shift == "laplacian":
        return
    smallest = sum(_smallest_eigenvalue(operator) for operator in operators)
    # Rounding of a float32 Gram matrix of `nodes` terms, relative to the largest eigenvalue.
    if smallest + config.ridge < -1e-5 * sum(operator.bound for operator in operators):
        raise ValueError(
            f"the adjacency of table {table.group!r} has the eigenvalue {smallest:.3g}, so the penalty tr(X^T (A + "
            f"ridge I) X) has no minimum; use shift='laplacian', builder='gram', or ridge >= {-smallest:.3g}"
        )


def _build(table: NodeTable, config: SpectralConfig, features: Tensor) -> Any:
    builder = get_builder(config.builder, **config.builder_options)
    try:
        graph = check_graph(builder(table.to_data(features)))
        if graph.num_nodes != table.shape[0]:
            raise ValueError(f"the graph has {graph.num_nodes} nodes, the table has {table.shape[0]}")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"builder {config.builder!r} failed on table {table.group!r}: {error}") from error
    return graph


def _smallest_eigenvalue(operator: ShiftOperator) -> float:
    if operator.nodes == 0:
        return 0.0
    if operator.nodes <= _DENSE_NODES:
        return float(np.linalg.eigvalsh(operator.to_dense())[0])
    start = np.random.default_rng(0).standard_normal(operator.nodes)
    values = spla.eigsh(operator.to_scipy(), k=1, which="SA", v0=start, return_eigenvectors=False, tol=1e-4)
    return float(values[0])
