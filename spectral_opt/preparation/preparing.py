"""Prepare what a config names: match tables, collect features once, build graphs, operators and filters."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.errors import one_line
from paramgraph.filters import (
    EXACT_NODES,
    GraphFilter,
    ProductFilter,
    ReadyFilter,
    ResponseFunction,
    pairs_for_rank,
    prepare_filter,
    prepare_product_filter,
)
from paramgraph.graphs import as_builder
from paramgraph.mapped_memory import MappedMemory
from paramgraph.measures import product_energy
from paramgraph.nodes import NodeTable
from paramgraph.sources import SOURCES, SourceLike, as_source, collect_in_turn
from paramgraph.spectra import ShiftOperator, Spectrum, eigenpairs
from paramgraph.workers import CallWorkers, GivenUp, OwnProcess
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation._entries import check_reached, prepare_entries, told_objective, told_texts
from spectral_opt.preparation._freed_memory import give_back_freed_memory
from spectral_opt.preparation.calibration import (
    CalibrationBatches,
    CalibrationLoss,
    calibration_sets,
    check_calibration,
    loss_on,
    reads_features,
    source_of,
)
from spectral_opt.preparation.factor_table import (
    FactorTable,
    config_on,
    keeps_few_modes,
    measured_table,
    told_factors,
)
from spectral_opt.preparation.graph_workers import choose_graph_workers
from spectral_opt.preparation.matching import match_tables
from spectral_opt.preparation.prepared_table import (
    FAILURES,
    UNREACHED,
    EntryOperator,
    PreparedTable,
    build_operator,
    check_form,
    is_unreached,
    prepared_or_left_alone,
    table_left_alone,
    table_without_graph,
    told_reasons,
)


def prepare(
    model: nn.Module,
    config: SpectralConfig,
    batches: CalibrationBatches = None,
    loss: CalibrationLoss = None,
    parameters: Iterable[Tensor] | None = None,
    keep_spectra: bool = False,
    *,
    workers: int | None = None,
    client: Any | None = None,  # Any: distributed's Client, of an optional and untyped library
    memory_budget: int | None = None,
) -> tuple[PreparedTable, ...]:
    """Build graph, operator and filter of every table that a config acts on.

    One pass over the calibration batches serves all tables. The model, its mode and all random states are left as they
    were.

    Parameters
    ----------
    model : nn.Module
        Bare or wrapped model.
    config : SpectralConfig
        What to build.
    batches : iterable, mapping of str to iterable, or None
        Calibration batches: the set "task", or a mapping with the keys "task" and "preserve".
    loss : callable, mapping of str to callable, or None
        `loss(model, batch) -> scalar Tensor`, or one for each set; None: `model(**batch).loss`.
    parameters : iterable of Tensor, optional
        Parameters of the optimizer, compared by identity: no other tables are prepared. None: every targeted table.
    keep_spectra : bool, default False
        Keep the eigenpairs of filters that use them, so that another response costs no eigenproblem: O(nodes^2)
        memory for each table.
    workers : int, optional
        So many processes of one thread each build graphs and filters from features that this one measures; the result
        is one such's. By default this process does, by its own threads. No more are started than have memory. A table
        whose process dies is tried again, twice at most. A builder must stand in a module that can be imported, and a
        script needs ``if __name__ == "__main__":``.
    client : distributed.Client, optional
        The workers of this Dask cluster build them instead. Needs ``pip install 'paramgraph[dask]'``.
    memory_budget : int, optional
        Bytes that all processes of `workers` together may take, by an estimate of the largest table, and at least room
        for one; by default 80 % of what is free. `remarks` say how many processes that made, and which died.

    Returns
    -------
    tuple of PreparedTable
        In the order of the model. One that cannot have a graph (its layer never runs, it has no more nodes than the
        builder asks for, or it fails in another way of its own) is left alone: it has no operator, and `reason` says
        why. Memory: of gradients the features of one table at a time (sums that are large lie in a file), of
        other sources the sums of all; and one graph at a time.

    Raises
    ------
    ValueError
        If nothing matches, batches are missing, or no table can have a graph: the reasons are listed.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 8))
    >>> ready, = prepare(model, SpectralConfig(builder="ring", normalization=None))
    >>> ready.nodes, ready.edges, ready.components
    (8, 8, 1)
    """
    tables, _ = match_tables(model, config, parameters)
    with closing(
        choose_graph_workers("prepare", workers, client, memory_budget, [config], [tables])
    ) as chosen:
        return prepare_tables(model, config, tables, batches, loss, keep_spectra, workers=chosen)


def prepare_tables(
    model: nn.Module,
    config: SpectralConfig,
    tables: Mapping[str, NodeTable],
    batches: CalibrationBatches = None,
    loss: CalibrationLoss = None,
    keep_spectra: bool = False,
    measure: Callable[..., Any] = collect_in_turn,
    share: Callable[..., PreparedTable] | None = None,
    measure_energy: Callable[..., Any] = product_energy,
    memory: MappedMemory | None = None,
    workers: CallWorkers | None = None,
) -> tuple[PreparedTable, ...]:
    """Build graph, operator and filter of these tables, from :func:`match_tables` or some of them; see :func:`prepare`.

    `measure` gives the features, called as `collect_in_turn` is, and `measure_energy` energies of modes, as
    :func:`paramgraph.product_energy`: ranks put their own in their place. `share` (table, config, make) runs `make()`
    for a table on one rank for all. With a `memory` second moments of products are in its files. `workers` make what
    follows on features, by default this process. What fails at one table leaves that one alone; a ValueError where none
    is left.
    """
    if config.builder is None:
        return tuple(table_without_graph(table) for table in tables.values())
    workers = workers or OwnProcess()
    sets = calibration_sets(batches)
    check_calibration(config, sets, loss)
    loss = loss_on(loss, config.batches)
    # Before any pass: there may be thousands of experts that are too small for the graph.
    refused = refused_tables(tables, config)
    ready = {key: _left_alone(tables[key], config, reason) for key, reason in refused.items()}
    possible = {key: table for key, table in tables.items() if key not in refused}
    entries = {key: table for key, table in possible.items() if config_on(config, table).scheme == "entries"}
    matrices = {key: measured_table(table) for key, table in entries.items()}
    chosen = sets.get(config.batches)
    make_ready = functools.partial(_with_filter, config)
    of_entries = prepare_entries(
        model,
        config,
        {table.group: table for table in matrices.values()},
        chosen,
        loss,
        make_ready,
        measure,
        measure_energy,
        share,
        memory,
        workers,
    )
    ready |= {
        key: replace(each, table=table)
        for (key, table), each in zip(entries.items(), of_entries, strict=True)
    }
    tables_left = {key: table for key, table in possible.items() if key not in entries}
    # Columns beside "entries", those of an adapter's A, may have a source of their own.
    parts, unread = [tables_left], False
    if config.column_source is not None:
        schemes = dict.fromkeys(table.scheme for table in tables_left.values())
        parts = [{key: table for key, table in tables_left.items() if table.scheme == one} for one in schemes]
    for part in parts:
        features: dict[str, Tensor] = {}
        failures: dict[str, str] = {}
        if reads_features(config) and part:
            measured = {key: measured_table(table) for key, table in part.items()}
            source, options = source_of(model, config, next(iter(part.values())).scheme)
            _check_factors(part, source)
            features = measure(
                model,
                measured,
                source,
                batches=chosen,
                loss=loss,
                options=options,
                on_failure=failures.__setitem__,
            )
            unread = bool(failures) and as_source(source).from_checkpoint
        calls = _calls(part, config, features, failures, keep_spectra, share, ready)
        for key, made in workers.results(calls, len(part)):
            ready[key] = _left_alone(part[key], config, made.reason) if isinstance(made, GivenUp) else made
        check_reached([key for key in part if ready[key].reason != UNREACHED], part)
    check_left(
        config, {key: each.reason for key, each in ready.items() if each.left_alone}, len(ready), unread
    )
    remarks = told_factors(config, tables_left.values())
    if tables_left and reads_features(config):
        # Of several ranks each has a part of the texts alone.
        remarks += told_texts(model, config, chosen) if share is None else told_objective(model, config)
    ready |= {key: replace(ready[key], table=tables[key], remarks=remarks) for key in tables_left}
    if workers.remarks:
        ready = {key: replace(each, remarks=(*each.remarks, *workers.remarks)) for key, each in ready.items()}
    give_back_freed_memory()
    return tuple(ready[key] for key in tables)


def _calls(
    tables: Mapping[str, NodeTable],
    config: SpectralConfig,
    features: dict[str, Tensor],
    failures: Mapping[str, str],
    keep_spectra: bool,
    share: Callable[..., PreparedTable] | None,
    ready: dict[str, PreparedTable],
) -> Iterator[tuple[str, Callable[[], PreparedTable]]]:
    """Make features of one table after the other, and what prepares it of them; what has none is `ready`."""
    for key, table in tables.items():
        of_table = config_on(config, table)
        if key in failures:
            ready[key] = _left_alone(table, config, failures[key])
            continue
        try:
            found = features.pop(key, torch.zeros(table.shape[0], 0))
        except FAILURES as error:  # made only now
            ready[key] = _left_alone(table, config, one_line(error))
            continue
        if is_unreached(of_table.source, found):
            ready[key] = _left_alone(table, config, UNREACHED)
            continue
        prepare_it = functools.partial(_prepare_table, table, of_table, found, keep_spectra)
        make = functools.partial(prepared_or_left_alone, table, table.shape[0], prepare_it)
        del found, prepare_it  # the next ones are made while these names would still hold them
        yield key, functools.partial(share, table, of_table, make) if share else make
        del make


def make_filter(
    operator: ShiftOperator | EntryOperator,
    config: SpectralConfig,
    response: ResponseFunction | None = None,
    spectrum: Spectrum | None = None,
) -> GraphFilter | ProductFilter:
    """Prepare the filter of one operator as a config says, or with another response.

    Reads response, filter_method, tail, seed and, where that is low-rank, rank (at most all nodes). With the
    `spectrum` of the operator another response costs no eigenproblem.
    """
    if response is None:
        response = config.make_response()
    rank = min(config.rank, operator.nodes) if config.filter_method == "lowrank" else None
    if isinstance(operator, EntryOperator):
        # The optimizer runs in both bases; "solve" is refused with the list of what a product has.
        method: Any = "exact" if config.runs_in_basis else config.filter_method
        return prepare_product_filter(operator.operator, response, method=method, tail=config.tail, rank=rank)
    return prepare_filter(
        operator,
        response,
        method=config.filter_method,
        rank=rank,
        tail=config.tail,
        spectrum=spectrum,
        seed=config.seed,
    )


def filter_spectrum(operator: ShiftOperator | EntryOperator, config: SpectralConfig) -> Spectrum | None:
    """Solve the eigenproblem that `make_filter` would solve, for any number of responses; None where it needs none."""
    if isinstance(operator, EntryOperator):
        return None
    method = config.filter_method
    if method == "lowrank":
        pairs = pairs_for_rank(min(config.rank, operator.nodes), operator.nodes, config.tail)
        return eigenpairs(operator, k=pairs or None, seed=config.seed)
    if method == "exact" or (method == "auto" and operator.nodes <= EXACT_NODES):
        return eigenpairs(operator, seed=config.seed)
    return None


def is_basis_worth(ready: PreparedTable) -> bool:
    """Say whether many filters are worth the complete basis of an operator.

    That of a dense graph, where every iteration of a solver would be a dense product, and modes that are there.
    """
    parts = () if ready.operator is None else ready.operator.parts
    is_small = all(part.nodes <= EXACT_NODES for part in parts)
    return ready.operator is not None and is_small and (not parts or any(part.is_dense for part in parts))


def basis_filters(ready: PreparedTable, seed: int = 0) -> Callable[[ResponseFunction], ReadyFilter]:
    """Solve for the complete basis of a table's operator, and give what makes a filter of each response in it."""
    operator = ready.operator
    if isinstance(operator, EntryOperator):
        return functools.partial(prepare_product_filter, operator.operator, method="exact")
    assert operator is not None  # L = 0 has no basis to look for
    has_all = ready.spectrum is not None and ready.spectrum.complete
    spectrum = ready.spectrum if has_all else eigenpairs(operator, seed=seed)
    return functools.partial(prepare_filter, operator, method="exact", spectrum=spectrum)


def _prepare_table(
    table: NodeTable, config: SpectralConfig, features: Tensor, keep_spectra: bool
) -> PreparedTable:
    started = time.perf_counter()
    operator, edges = build_operator(table, config, features)
    check_form(config, operator)
    graph_filter, spectrum, reason = None, None, "no filter"
    if config.runs_in_basis:
        # The step reads the spectrum itself: a filter would hold the eigenvectors a second time.
        spectrum = eigenpairs(operator, seed=config.seed)
        reason = f"basis: complete spectrum by {spectrum.solver}; the optimizer runs on U^T G and U^T Theta"
    elif config.has_filter:
        is_thin = keeps_few_modes(config, table)
        config = replace(config, filter_method="lowrank") if is_thin else config
        spectrum = filter_spectrum(operator, config) if keep_spectra else None
        graph_filter = make_filter(operator, config, spectrum=spectrum)
        reason = f"{graph_filter.method}: {graph_filter.reason}"
        if is_thin:
            # What it filters is float32 too.
            graph_filter = graph_filter if features.dtype == torch.float64 else _in_float32(graph_filter)
            more = f"all modes would be many times as large as a factor of width {table.shape[1]}"
            reason = f"{graph_filter.method}: {more}{graph_filter.reason.removeprefix('asked for')}"
        if config.filter_method == "lowrank" and config.rank > operator.nodes:
            reason += f"; rank {config.rank} is more than there are modes, so all {operator.nodes} are kept"
    return PreparedTable(
        table=table,
        nodes=operator.nodes,
        edges=edges,
        components=operator.components,
        operator=operator,
        filter=graph_filter,
        seconds=time.perf_counter() - started,
        reason=reason,
        spectrum=spectrum,
    )


def _in_float32(graph_filter: GraphFilter | ProductFilter) -> GraphFilter | ProductFilter:
    """Keep the eigenvectors of a low-rank filter once, as a step reads them, and not in float64 beside that."""
    if isinstance(graph_filter, ProductFilter) or graph_filter.design.basis is None:
        return graph_filter
    design = graph_filter.design
    assert design.basis is not None
    assert design.gain is not None
    # Columns of zeros up to a multiple of 16, which a step would add to a copy.
    missing = -len(design.gain) % 16 if len(design.gain) >= 16 else 0
    basis, gain = (torch.nn.functional.pad(part, (0, missing)) for part in (design.basis, design.gain))
    return replace(graph_filter, design=replace(design, basis=basis.float(), gain=gain))


def _with_filter(
    config: SpectralConfig, table: NodeTable, operator: EntryOperator, edges: int, seconds: float
) -> PreparedTable:
    """Make the filter on the entries of a matrix."""
    started = time.perf_counter()
    graph_filter = make_filter(operator, config) if config.has_filter else None
    reason = "no filter" if graph_filter is None else f"{graph_filter.method}: {graph_filter.reason}"
    if config.runs_in_basis:
        reason = "basis: complete spectra of rows and columns; the optimizer runs on U^T G V and U^T Theta V"
    return PreparedTable(
        table=table,
        nodes=operator.nodes,
        edges=edges,
        components=operator.components,
        operator=operator,
        filter=graph_filter,
        seconds=seconds + time.perf_counter() - started,
        reason=reason,
    )


def _check_factors(tables: Mapping[str, NodeTable], source: SourceLike) -> None:
    """Refuse a source that says nothing of the columns on which the factors A of an adapter lie."""
    factors = [table for table in tables.values() if isinstance(table, FactorTable)]
    refusal = next(filter(None, (as_source(source).refuses(table.scheme) for table in factors)), "")
    if refusal:
        raise ValueError(
            f"{refusal.partition(':')[0]}, and the factors of an adapter lie on rows and on columns: use scheme "
            "'entries' with a column_source, as SpectralConfig.preserve(graph='product') does, or a source of both"
        )


def refused_tables(tables: Mapping[str, NodeTable], config: SpectralConfig) -> dict[str, str]:
    """Say, before anything is measured, which tables have too few nodes for the builder or too many for the basis."""
    builder, refused = as_builder(config.make_builder()), {}
    for key, table in tables.items():
        measured = measured_table(table)
        sizes = measured.shape if config_on(config, table).scheme == "entries" else measured.shape[:1]
        try:
            for nodes in dict.fromkeys(sizes):
                builder.check_nodes(nodes)
        except ValueError as error:
            refused[key] = one_line(error)
            continue
        if config.runs_in_basis and max(sizes) > EXACT_NODES:
            refused[key] = (
                f"placement 'basis' needs the complete spectrum, which is computed up to {EXACT_NODES} nodes, and it "
                f"has {max(sizes)}: use placement='update', or another scheme"
            )
    return refused


def _left_alone(table: NodeTable, config: SpectralConfig, reason: str) -> PreparedTable:
    nodes, width = measured_table(table).shape
    return table_left_alone(
        table, nodes * width if config_on(config, table).scheme == "entries" else nodes, reason
    )


def check_left(config: SpectralConfig, reasons: Mapping[str, str], tried: int, unread: bool = False) -> None:
    """Refuse a config of which nothing is left of all tables that were tried, for these reasons.

    `unread` where weights could not be read, as of a quantized layer.
    """
    if not tried or len(reasons) < tried:
        return
    running = [
        name for name, source in SOURCES.items() if source.needs_batches and not source.refuses(config.scheme)
    ]
    hint = f"; sources that need no weights: {', '.join(running)}" if unread else ""
    raise ValueError(
        f"of what targets={config.targets!r} matches no table ({tried} tried) can have a graph: "
        f"{told_reasons(reasons)}{hint}"
    )
