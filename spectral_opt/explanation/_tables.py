"""What one config does to one table, and what that costs."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from paramgraph.filters import EXACT_NODES, GraphFilter, ProductFilter
from paramgraph.graphs import builder_options
from paramgraph.nodes import NodeTable
from paramgraph.spectra import KroneckerModes
from spectral_opt.config import SpectralConfig
from spectral_opt.functional import step_kind
from spectral_opt.preparation import (
    EntryOperator,
    FactorTable,
    PreparedTable,
    config_on,
    is_basis_worth,
    keeps_few_modes,
    measured_table,
    starts_with_an_update,
)
from spectral_opt.training import own_parts

# The lowest order that "auto" takes of a polynomial.
POLYNOMIAL_ORDER = 30
# Tables of one config: prepared, or matched by key where their graphs are not built.
Ready = Sequence[PreparedTable] | Mapping[str, NodeTable]


@dataclass(frozen=True)
class TableExplanation:
    """What one config does to one table.

    The config is an index, the parameter the key of the table. `edges` is None where neither known nor estimated, and
    not `edges_known` where it is an upper estimate from the builder's options; `components` is None before the graph
    is built. `filter` says how it is applied and why, `penalty` also which decoupled step is taken and how, or below
    which learning rate. `memory` has the bytes of the "graph" (operator), the "spectrum" (eigenvectors and factors of
    filter and proximal step), the "start" (Theta_0), and of the "copies" for a filter on the update (one) or in the
    basis (three); `extra_bytes` is their sum; `flops_per_step` an n-th of a penalty that acts every n steps.
    `adapter` says what is trained beside a frozen matrix, and which graph acts on it. `milliseconds` are as measured;
    None where only `flops_per_step` is known.
    """

    config: int
    parameter: str
    scheme: str
    nodes: int
    width: int
    edges: int | None
    edges_known: bool
    components: int | None
    filter: str
    penalty: str
    memory: Mapping[str, int]
    extra_bytes: int
    flops_per_step: float
    adapter: str = ""
    parameters: tuple[str, ...] = ()
    milliseconds: float | None = None


def explain_table(
    index: int,
    config: SpectralConfig,
    ready: PreparedTable,
    named: Mapping[str, Tensor],
    rates: Mapping[int, float],
) -> TableExplanation:
    """Explain one prepared table; `rates` has the learning rates by `id` of the parameter, empty where unknown."""
    nodes, width = ready.table.shape
    config = config_on(config, ready.table)
    members = [named[name] for name in ready.table.parameters]
    matrix_bytes, products = _operator_cost(ready)
    filter_bytes, flops = _filter_cost(ready, products, config.runs_in_basis)
    penalty = _penalty_text(config)
    penalty_bytes = 0
    if config.penalty:
        of_penalty = _penalty_flops(products, nodes, width)
        bound = 0.0 if ready.operator is None else ready.operator.bound
        if config.penalty_mode == "decoupled" and rates:
            step = max(rates.get(id(member), 0.0) for member in members) * _pull(config)
            kind = step_kind(ready.operator, config.ridge, step)
            penalty += f", {kind}"
            if kind == "proximal":
                penalty_bytes, of_penalty, how = _proximal_cost(
                    ready, products, step * (bound + config.ridge)
                )
                penalty += how
        elif config.penalty_mode == "decoupled":
            penalty += _switch(config, bound)
        flops += of_penalty / config.penalty_every
    memory = _memory(config, ready.table, named, matrix_bytes, filter_bytes + penalty_bytes)
    return TableExplanation(
        config=index,
        parameter=ready.table.group,
        scheme=config.scheme,
        nodes=ready.nodes,
        width=1 if config.scheme == "entries" else width,
        edges=ready.edges,
        edges_known=True,
        components=ready.components,
        filter=ready.reason,
        penalty=penalty,
        memory=memory,
        extra_bytes=sum(memory.values()),
        flops_per_step=flops,
        adapter=_adapter_text(config, ready.table),
        parameters=ready.table.parameters,
    )


def estimate_table(
    index: int, config: SpectralConfig, table: NodeTable, named: Mapping[str, Tensor]
) -> TableExplanation:
    """Estimate what a config does to a table whose graph is not built.

    Edges are the most that the builder can make: nodes x k where it has a k, else all pairs.
    """
    config = config_on(config, table)
    of_entries = config.scheme == "entries"
    nodes, width = (measured_table(table) if of_entries else table).shape
    options = {} if not isinstance(config.builder, str) else builder_options(config.builder)
    neighbours = (options | dict(config.builder_options or {})).get("k")
    edges, stored, products, joined = 0, 0, 0.0, 1
    # Entries have a graph of their rows and one of their columns, repeated over the other side, or joined with it.
    sides = ((nodes, width), (width, nodes)) if of_entries else ((nodes, width),)
    for size, others in sides:
        linked = size * (size - 1) // 2
        if isinstance(neighbours, int):
            linked = min(linked, size * neighbours)
        edges += linked * (others if of_entries else 1)
        stored += 2 * linked + size
        joined *= 2 * linked + size
        products += float(
            (2 * linked + size) * (table.shape[1] if isinstance(table, FactorTable) else others)
        )
    if config.product == "tensor":
        edges = (joined - nodes * width) // 2
    operator_bytes = 12 * stored
    if config.energy is not None:
        operator_bytes = 4 * (nodes**2 + width**2 + nodes * width)
        products = _modes_product(table, nodes, width)
    filter_bytes, flops = _estimated_filter(config, nodes, width, products, keeps_few_modes(config, table))
    memory = _memory(config, table, named, operator_bytes, filter_bytes)
    return TableExplanation(
        config=index,
        parameter=table.group,
        scheme=config.scheme,
        nodes=nodes * width if of_entries else nodes,
        width=1 if of_entries else width,
        edges=edges,
        edges_known=False,
        components=None,
        filter=f"{config.filter_method}: decided once the graph is built"
        if config.has_filter
        else "no filter",
        penalty=_penalty_text(config) + _estimated_switch(config),
        memory=memory,
        extra_bytes=sum(memory.values()),
        flops_per_step=flops
        + (_penalty_flops(products, *table.shape) / config.penalty_every if config.penalty else 0.0),
        adapter=_adapter_text(config, table),
        parameters=table.parameters,
    )


def _estimated_filter(
    config: SpectralConfig, nodes: int, width: int, products: float, is_thin: bool
) -> tuple[int, float]:
    """Estimate the bytes and the operations of a filter whose graph is not built, as `_filter_cost` counts them."""
    if not config.has_filter:
        return 0, 0.0
    sides = (nodes, width) if config.scheme == "entries" else (nodes,)
    # In the basis gradient and parameter there, the increment back; else there and back.
    if config.runs_in_basis or config.scheme == "entries":
        times = 6.0 if config.runs_in_basis else 4.0
        held = 0 if config.energy is not None else 12 * sum(side**2 for side in sides)
        return held, times * nodes * width * sum(sides)
    method, rank = config.filter_method, min(config.rank, nodes)
    if is_thin:
        return 4 * nodes * rank, 4.0 * nodes * rank * width
    if method == "auto":
        method = "exact" if nodes <= EXACT_NODES else "chebyshev"
    if method == "exact" or (method == "lowrank" and 2 * rank >= nodes):
        return 12 * nodes**2, 2.0 * nodes**2 * width
    if method == "lowrank":
        return 12 * nodes * rank, 4.0 * nodes * rank * width
    return 0, 2.0 * POLYNOMIAL_ORDER * products


def stack_of(key: str) -> str:
    """Read off the key of a table which stack of experts it is a part of; "" where it is of none."""
    found = re.fullmatch(r"(.+)\[\d+\]", key)
    return found[1] if found else ""


def table_cells(tables: Sequence[TableExplanation], many: bool) -> tuple[str, ...]:
    """Write one table, or those of all experts of a stack, as the cells of a line; the config where there are many."""
    first = tables[0]
    name = first.parameter
    if stack_of(name):
        name = f"{stack_of(name)}, {len(tables)} experts"
    bound = "" if all(table.edges_known for table in tables) else "<= "
    return (
        f"{first.config}: {name}" if many else name,
        _range(table.nodes for table in tables),
        _range(table.width for table in tables),
        bound + _range(table.edges for table in tables) if first.edges is not None else "?",
        _range(table.components for table in tables),
        " | ".join(dict.fromkeys(table.filter for table in tables)),
        " | ".join(dict.fromkeys(table.penalty for table in tables)),
    )


def _range(numbers: Iterable[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return "?"
    return str(known[0]) if min(known) == max(known) else f"{min(known)} to {max(known)}"


def _operator_cost(ready: PreparedTable) -> tuple[int, float]:
    """Count the bytes of the operator, and the multiplications of one product with a signal."""
    if ready.operator is None:
        return 0, 0.0
    nodes, width = ready.table.shape
    rows, columns = measured_table(ready.table).shape
    if isinstance(ready.operator, EntryOperator) and isinstance(ready.operator.operator, KroneckerModes):
        modes = ready.operator.operator
        size = _size((modes.row_basis, modes.column_basis, modes.eigenvalues))
        return size, _modes_product(ready.table, rows, columns)
    # Of the factors of an update each has the operator of its own nodes.
    others_of = (width, width) if isinstance(ready.table, FactorTable) else (width, nodes)
    size, products = 0, 0.0
    for part, others in zip(ready.operator.parts, others_of, strict=False):
        stored = part.matrix.size if isinstance(part.matrix, np.ndarray) else part.matrix.nnz
        size += stored * (8 if part.is_dense else 12)  # float64, with an int32 index where sparse
        products += float(stored * others)
    return size, products


def _modes_product(table: NodeTable, rows: int, columns: int) -> float:
    """Count the multiplications of a signal by modes of rows and columns, there and back."""
    if isinstance(table, FactorTable):
        # Both factors into their coordinates and their gradients back, with one matrix of coordinates between.
        return 2.0 * table.shape[1] * (rows**2 + columns**2 + 1.5 * rows * columns)
    return 2.0 * rows * columns * (rows + columns)


def _filter_cost(ready: PreparedTable, products: float, in_basis: bool) -> tuple[int, float]:
    """Count the bytes of the filter in float32 beside its float64 basis, and its operations for one signal."""
    nodes, width = ready.table.shape
    if ready.filter is None and ready.spectrum is not None:
        # Eigenvectors in float64 and in float32; gradient and parameter there, the increment back.
        return 12 * nodes * nodes, 6.0 * nodes * nodes * width
    if ready.filter is None or (ready.filter.is_identity and not in_basis):
        return 0, 0.0
    if isinstance(ready.filter, GraphFilter) and ready.filter.method == "solve":
        solver = ready.filter.design.solver
        return solver.stored_bytes, solver.operations * width
    if ready.filter.order is not None:
        return 0, 2.0 * ready.filter.order * products
    if isinstance(ready.filter, ProductFilter):
        # In the basis gradient and parameter there, the increment back; else there and back.
        products = 3 if in_basis else 2
        has_modes = isinstance(ready.filter.operator, KroneckerModes)
        held = 4 * nodes * width if has_modes else 12 * (nodes**2 + width**2)
        return held, 2.0 * products * nodes * width * (nodes + width)
    rank = ready.filter.rank
    if rank is None:
        return 0, 2.0 * products
    if 2 * rank >= nodes:
        return 12 * nodes * nodes, 2.0 * nodes * nodes * width
    # As they are kept, and as a step reads them, in float32, which is the same where they are kept so.
    kept = ready.filter.modes[0].element_size() if ready.filter.modes else 8
    return (4 if kept == 4 else 4 + kept) * nodes * rank, 4.0 * nodes * rank * width


def _penalty_text(config: SpectralConfig) -> str:
    if not config.penalty:
        return "none"
    every = f" every {config.penalty_every} steps" if config.penalty_every > 1 else ""
    return f"{config.penalty_mode} on {config.penalty_on}{every}"


def _pull(config: SpectralConfig) -> float:
    """Compute the size of a decoupled step at a learning rate of 1."""
    return config.penalty * config.penalty_every


def _switch(config: SpectralConfig, bound: float) -> str:
    """State the learning rate at which the proximal step takes over from the explicit one."""
    if not bound + config.ridge:
        return ", explicit"
    return f", explicit below lr {1 / (2 * _pull(config) * (bound + config.ridge)):.3g}, else proximal"


def _estimated_switch(config: SpectralConfig) -> str:
    if not config.penalty or config.penalty_mode != "decoupled":
        return ""
    if config.shift == "laplacian" and config.normalization == "sym":
        return _switch(config, 2.0)  # of every graph
    return ", explicit or proximal, by the graph"


def _penalty_flops(products: float, nodes: int, width: int) -> float:
    return 2.0 * products + 4.0 * nodes * width


def _proximal_cost(ready: PreparedTable, products: float, strength: float) -> tuple[int, float, str]:
    """Count bytes and operations of one proximal step of this size x lambda_max, and say how it is solved."""
    nodes, width = ready.table.shape
    if ready.operator is None:
        return 0, 2.0 * nodes * width, ""
    if is_basis_worth(ready):
        is_product = isinstance(ready.operator, EntryOperator)
        sides = (nodes, width) if is_product else (nodes,)
        held = not ready.operator.parts or (ready.spectrum is not None and ready.spectrum.complete)
        # Eigenvectors in float64, unless they are there already; then the filter of the present rate, which is kept:
        # of a product eigenvectors in float32 and gains, else its own eigenvectors and their product in float32.
        size = 0 if held else sum(8 * side**2 for side in sides)
        size += sum(4 * side**2 for side in sides) + 12 * nodes * width if is_product else 12 * nodes**2
        return size, sum(4.0 * nodes * width * side for side in sides), " in the complete basis"
    # Conjugate gradients: the residual falls by this root at each step, to 1e-12.
    steps = min(14.0 * math.sqrt(1.0 + 2.0 * strength), 2.0 * ready.operator.nodes + 10.0)
    iterations = 1 + math.ceil(steps)
    return 0, iterations * _penalty_flops(products, nodes, 3 * width), f" in about {iterations} iterations"


def _memory(
    config: SpectralConfig, table: NodeTable, named: Mapping[str, Tensor], graph: int, spectrum: int
) -> dict[str, int]:
    return {
        "graph": graph,
        "spectrum": spectrum,
        "start": _start_bytes(config, table, named),
        "copies": _copied_bytes(config, table, named),
    }


def _copied_bytes(config: SpectralConfig, table: NodeTable, named: Mapping[str, Tensor]) -> int:
    copies = {"update": 1, "basis": 3}.get(config.placement or "", 0) if config.has_filter else 0
    return copies * _size(own_parts(table, named).values())


def _start_bytes(config: SpectralConfig, table: NodeTable, named: Mapping[str, Tensor]) -> int:
    """Count Theta_0 where the penalty reads it: of both factors of an adapter, unless their product starts at zero."""
    if not config.penalty or config.penalty_on != "delta":
        return 0
    if not isinstance(table, FactorTable) or not table.factors:
        return _size(own_parts(table, named).values())
    factors = [named[name] for name in table.factors]
    return _size(factors) // max(table.experts, 1) if starts_with_an_update(factors) else 0


def _size(members: Iterable[Tensor]) -> int:
    return sum(member.numel() * member.element_size() for member in members)


def _adapter_text(config: SpectralConfig, table: NodeTable) -> str:
    if not isinstance(table, FactorTable):
        return ""
    return (
        f"{table.text}; the penalty of the update is with this graph"
        if config.penalty and table.factors
        else table.text
    )
