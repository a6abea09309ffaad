"""One table with the operator of its graph, and the way there from features."""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.construct import connect
from paramgraph.digests import readable
from paramgraph.display import by_reason, short_list
from paramgraph.errors import NotConvergedError, one_line
from paramgraph.filters import GraphFilter, ProductFilter
from paramgraph.graphs import get_builder
from paramgraph.nodes import NodeTable
from paramgraph.spectra import (
    KroneckerOperator,
    ShiftOperator,
    SignalOperator,
    Spectrum,
    adjacency,
    is_proven_above,
    laplacian,
    null_operator,
    smallest_eigenvalue,
)
from spectral_opt.config import SpectralConfig

UNREACHED = "no text's gradient reaches it"
GRADIENTS = ("gradients", "batch_gradients", "output_gradients")
NO_GRAPH = "no graph: L = 0"
# Of a float32 Gram matrix, relative to the largest eigenvalue.
ROUNDING = 1e-5
# What can fail at one table, its numbers, its graph or a solver, while others are well; other errors are ours.
FAILURES = (ValueError, TypeError, KeyError, ArithmeticError, RuntimeError)
# The same where graphs are of our own builders: without what a machine's state raises, as a lack of memory does.
NUMERIC_FAILURES = (ValueError, NotConvergedError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]  # documented


@dataclass(frozen=True, eq=False)
class EntryOperator(SignalOperator):
    """Scalars as nodes: give what acts on the entries of a matrix the interface of an operator on its rows."""

    operator: KroneckerOperator

    # One system for all entries.
    couples_columns = True

    @property
    def parts(self) -> tuple[ShiftOperator, ...]:
        """Operator of the rows and of the columns; empty where it is made of modes."""
        return self.operator.parts

    @property
    def shape(self) -> tuple[int, int]:
        """Square, with as many rows as a signal has: what it can be multiplied with."""
        rows = self.operator.shape[0]
        return rows, rows

    @property
    def nodes(self) -> int:
        """Number of nodes: of entries."""
        return self.operator.nodes

    @property
    def components(self) -> int | None:
        """Number of connected components; None where there is no graph of the entries."""
        return self.operator.components

    @property
    def bound(self) -> float:
        """Upper bound of the absolute eigenvalues."""
        return max(abs(end) for end in self.operator.interval)

    def __matmul__(self, X: Tensor) -> Tensor:
        return self.operator.times(X)


@dataclass(frozen=True)
class PreparedTable:
    """One table with its graph's operator and filter, ready for the training step.

    The graph itself is not kept: a dense one is many times the size of its operator. Each undirected edge counts once.
    Operator and filter are None without a graph (L = 0), the filter also where the config has none; `reason` says how
    it is applied and why, or why the table is left alone, and `seconds` how long builder, operator and filter took.
    `spectrum` has the eigenpairs, where they were to be kept for other responses; complete for placement "basis".
    `remarks` say what is to be known of what it was measured from.
    """

    table: NodeTable
    nodes: int
    edges: int
    components: int | None
    operator: ShiftOperator | EntryOperator | None
    filter: GraphFilter | ProductFilter | None
    seconds: float
    reason: str
    spectrum: Spectrum | None = None
    remarks: tuple[str, ...] = ()

    @property
    def left_alone(self) -> bool:
        """Whether it was to have a graph and has none: no filter, no penalty and no ridge act on it."""
        return self.operator is None and self.reason != NO_GRAPH


def is_unreached(source: object, features: Tensor) -> bool:
    """Say whether gradients are zero for all texts: a head or a pooler, of which the objective knows nothing."""
    return source in GRADIENTS and bool(features.numel()) and not bool(features.any())


def table_without_graph(table: NodeTable) -> PreparedTable:
    """Make a table of a config without a builder: L = 0, so that its ridge alone acts."""
    return PreparedTable(table, table.shape[0], 0, table.shape[0], None, None, 0.0, NO_GRAPH)


def table_left_alone(table: NodeTable, nodes: int, reason: str, seconds: float = 0.0) -> PreparedTable:
    """Make a table on which nothing acts, whose reason says why."""
    return PreparedTable(table, nodes, 0, None, None, None, seconds, reason)


def prepared_or_left_alone(table: NodeTable, nodes: int, make: Callable[[], PreparedTable]) -> PreparedTable:
    """Prepare a table, or leave it alone for the reason for which that fails."""
    try:
        return make()
    except FAILURES as error:
        return table_left_alone(table, nodes, one_line(error))


@dataclass(frozen=True)
class Failed:
    """In place of what was to be made of a table: why it cannot be."""

    reason: str


def made_or_failed(make: Callable[..., Any], *arguments: Any) -> Any:  # Any: what is made, or a `Failed`
    """Make a part of a table, or say why that fails."""
    try:
        return make(*arguments)
    except FAILURES as error:
        return Failed(one_line(error))


def told_reasons(reasons: Mapping[str, str]) -> str:
    """Write why tables are left alone, by their keys: each reason once, the most frequent first, with the first keys.

    >>> told_reasons({"a": "never called", "b": "too small", "c": "too small"})
    "too small ('b', 'c'); never called ('a')"
    """
    most_first = sorted(by_reason(reasons.items()), key=lambda item: -len(item[1]))
    return "; ".join(f"{reason} ({short_list([repr(key) for key in keys])})" for reason, keys in most_first)


def build_operator(table: NodeTable, config: SpectralConfig, features: Tensor) -> tuple[ShiftOperator, int]:
    """Build the graph of one table from features (nodes, features); give its shift operator and its number of edges.

    A config with a null has that in its place. A ValueError names the builder where it fails or gives a graph of other
    nodes.
    """
    graph = _build(table, config, features)
    operator = adjacency(graph) if config.shift == "adjacency" else laplacian(graph, config.normalization)
    if config.null is not None and config.null != "permuted" and config.null != "random":
        operator = null_operator(operator, config.null, config.seed)
    return operator, int(graph.num_edges) // 2


def check_form(config: SpectralConfig, *operators: ShiftOperator) -> None:
    """Refuse a penalty that is unbounded below: its minimum would be at infinity.

    The eigenvalues of several operators, those of rows and columns, add, or are multiplied in a tensor product; a
    ValueError where the smallest of the results and the ridge are negative together.
    """
    if not config.penalty or config.shift == "laplacian":
        return
    if all(is_proven_above(operator, -ROUNDING * operator.bound) for operator in operators):
        return  # sums and products of such values are above the same share of those of the bounds
    ends = [(smallest_eigenvalue(operator), operator.bound) for operator in operators]
    join = math.prod if config.product == "tensor" else math.fsum
    smallest = min(join(chosen) for chosen in itertools.product(*ends))
    if smallest + config.ridge < -ROUNDING * join(operator.bound for operator in operators):
        raise ValueError(
            f"its adjacency has the eigenvalue {smallest:.3g}, so the penalty tr(X^T (A + ridge I) X) has no minimum; "
            f"use shift='laplacian', builder='gram', or ridge >= {-smallest:.3g}"
        )


def _build(table: NodeTable, config: SpectralConfig, features: Tensor) -> Data:
    builder = config.make_builder()
    # Of all nulls these are drawn of a graph; the others change its operator.
    if config.null == "permuted" or config.null == "random":
        builder = get_builder(config.null, builder=builder, seed=config.seed)
    try:
        graph = connect(table, features, builder)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"builder {readable(config.builder)} failed: {one_line(error)}") from error
    if config.null == "random" and not graph.rewired_share:
        raise ValueError("null='random' gives the same graph, as its degrees leave no choice; use 'permuted'")
    return graph
