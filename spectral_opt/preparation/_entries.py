"""Scalars as nodes: a row graph and a column graph of each matrix, joined, or measured in their common modes."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from paramgraph.errors import NumericalWarning, one_line, users_level
from paramgraph.mapped_memory import MappedMemory
from paramgraph.measures import ModeEnergy, product_energy, second_moments
from paramgraph.nodes import NodeTable, node_tables, unwrap
from paramgraph.sources import Batches, Loss, collect_in_turn, passes, run_batch
from paramgraph.spectra import (
    KroneckerModes,
    KroneckerOperator,
    KroneckerProduct,
    KroneckerSum,
    ShiftOperator,
    eigenpairs,
    null_operator,
)
from paramgraph.workers import CallWorkers, GivenUp, OwnProcess
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation.calibration import (
    effective_texts,
    is_moment_gram,
    listed,
    reads_features,
    source_of,
)
from spectral_opt.preparation.graph_workers import told_in_common
from spectral_opt.preparation.prepared_table import (
    FAILURES,
    UNREACHED,
    EntryOperator,
    Failed,
    PreparedTable,
    build_operator,
    check_form,
    is_unreached,
    made_or_failed,
    prepared_or_left_alone,
    table_left_alone,
)

Measure = Callable[..., Any]
Share = Callable[..., PreparedTable]
# Fewer equally strong texts than that leave the order of modes to chance.
FEW_TEXTS = 16


@runtime_checkable
class Side(Protocol):
    """The graphs of the rows of all matrices, or of their columns."""

    # Whether tables have operators in common.
    is_shared: bool

    def is_zero(self, group: str) -> bool:
        """Whether the batches say nothing of a table."""

    def operator(self, group: str) -> ShiftOperator:
        """Give the operator of a table."""

    def leader(self, group: str) -> str:
        """Name the first of the tables that have the operator of this one."""

    def take(self, group: str) -> ShiftOperator:
        """Give the operator of a table and let it go."""

    def keep(self, basis: Tensor) -> Tensor:
        """Keep the eigenvectors of an operator that was taken."""


class _Built:
    """Graphs that a builder has made of features."""

    is_shared = False

    def __init__(self, operators: dict[str, ShiftOperator]) -> None:
        self._operators = operators
        self._known = frozenset(operators)

    def is_zero(self, group: str) -> bool:
        """Say where no graph was built."""
        return group not in self._known

    def operator(self, group: str) -> ShiftOperator:
        """Give the operator of a table."""
        return self._operators[group]

    def leader(self, group: str) -> str:
        """Name the table itself."""
        return group

    def take(self, group: str) -> ShiftOperator:
        """Give the operator of a table and let it go."""
        return self._operators.pop(group)

    def keep(self, basis: Tensor) -> Tensor:
        """Keep eigenvectors in memory."""
        return basis


def prepare_entries(
    model: nn.Module,
    config: SpectralConfig,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    make_ready: Callable[[NodeTable, EntryOperator, int, float], PreparedTable],
    measure: Measure = collect_in_turn,
    measure_energy: Measure = product_energy,
    share: Share | None = None,
    memory: MappedMemory | None = None,
    workers: CallWorkers | None = None,
) -> tuple[PreparedTable, ...]:
    """Build a row graph and a column graph of each matrix and join them, or measure the energy of their modes.

    `make_ready` (table, operator, edges, seconds) adds the filter. A source that runs the model runs it for each side,
    and the energies once more; with a `memory` second moments and energies are in its files. A table that the objective
    does not reach, or that fails on one of its sides, has no operator, and its reason says so. `workers` build graphs,
    solve for modes and make filters.
    """
    if not tables:
        return ()
    workers = workers or OwnProcess()
    started = time.perf_counter()
    if memory is not None:
        measure_energy = partial(measure_energy, memory=memory)
    again = batches if batches is None else listed(batches)
    failures: dict[str, str] = {}
    side = partial(
        _side,
        model,
        config,
        batches=again,
        loss=loss,
        measure=measure,
        is_alone=share is None,
        failures=failures,
        memory=memory,
        workers=workers,
    )
    rows = side(tables)
    reached = [key for key in tables if key in failures or not rows.is_zero(key)]
    check_reached(reached, tables)
    live = {key: tables[key] for key in reached if key not in failures}
    across = node_tables(model, "columns", config.targets, config.exclude) if live else {}
    columns = partial(side, {key: across[key] for key in live})
    remarks = told_objective(model, config) + told_padding(model, config, again)
    make: dict[str, Callable[[float], PreparedTable]]
    joining: CallWorkers = OwnProcess()
    if config.energy is None:
        beside = columns()
        # An operator that tables have in common would come back once for each of them.
        if not (rows.is_shared or beside.is_shared):
            joining = workers
        else:
            remarks += told_in_common(workers)
        make = {
            key: partial(_join, table, config, rows.operator(key), beside.operator(key), make_ready)
            for key, table in live.items()
            if key not in failures
        }
    else:
        bases = _bases(model, config, live, rows, columns, failures, workers)
        found, few = _measured_modes(model, config, live, bases, again, measure_energy, failures)
        remarks += few
        make = {key: partial(_of_modes, live[key], config, modes, make_ready) for key, modes in found.items()}
    seconds = (time.perf_counter() - started) / len(tables)
    entries = {key: table.shape[0] * table.shape[1] for key, table in tables.items()}

    def calls() -> Iterator[tuple[str, Callable[[], PreparedTable]]]:
        for key in tables:
            if key in make:
                build = partial(
                    prepared_or_left_alone, tables[key], entries[key], partial(make[key], seconds)
                )
                yield key, build if share is None else partial(share, tables[key], config, build)

    ready = {
        key: table_left_alone(table, entries[key], failures.get(key, UNREACHED), seconds)
        for key, table in tables.items()
    }
    for key, made in joining.results(calls(), len(make)):
        is_lost = isinstance(made, GivenUp)
        ready[key] = table_left_alone(tables[key], entries[key], made.reason, seconds) if is_lost else made
    return tuple(replace(each, remarks=remarks) for each in ready.values())


def _side(
    model: nn.Module,
    config: SpectralConfig,
    tables: Mapping[str, NodeTable],
    batches: Batches | None,
    loss: Loss | None,
    measure: Measure,
    is_alone: bool,
    failures: dict[str, str],
    memory: MappedMemory | None,
    workers: CallWorkers,
) -> Side:
    """Measure one side; second moments go without features where no other rank has a part in them."""
    if not tables:
        return _Built({})
    scheme = next(iter(tables.values())).scheme
    source, options = source_of(model, config, scheme)
    if is_alone and is_moment_gram(config, scheme):
        assert isinstance(source, str)  # a moment gram is of a source by name
        assert batches is not None  # checked before
        return second_moments(model, tables, source, batches, loss, options, failures.__setitem__, memory)
    features: dict[str, Tensor] = {}
    if reads_features(config):
        features = measure(
            model,
            tables,
            source,
            batches=batches,
            loss=loss,
            options=options,
            on_failure=failures.__setitem__,
        )
    operators = {}
    # Other nulls are of both sides together.
    of_side = config if config.null == "random" else replace(config, null=None)

    def calls() -> Iterator[tuple[str, Callable[[], Any]]]:
        for key, table in tables.items():
            if key in failures:
                continue
            try:
                found = features.pop(key, torch.zeros(table.shape[0], 0))
            except FAILURES as error:  # made only now
                failures[key] = one_line(error)
                continue
            if not is_unreached(source, found):
                yield key, partial(made_or_failed, build_operator, table, of_side, found)
            del found

    for key, made in workers.results(calls(), len(tables)):
        if isinstance(made, Failed | GivenUp):
            failures[key] = made.reason
        else:
            operators[key], _ = made
    return _Built(operators)


def _join(
    table: NodeTable,
    config: SpectralConfig,
    rows: ShiftOperator,
    columns: ShiftOperator,
    make_ready: Callable[[NodeTable, EntryOperator, int, float], PreparedTable],
    seconds: float,
) -> PreparedTable:
    """Join the two graphs of a matrix: in their product two entries are linked where both rows and columns are."""
    check_form(config, rows, columns)
    (row_links, row_loops), (column_links, column_loops) = _links(rows), _links(columns)
    if config.product == "tensor":
        edges = (row_links * column_links - row_loops * column_loops) // 2
        return make_ready(table, _joined(KroneckerProduct(rows, columns), config), edges, seconds)
    row_edges, column_edges = (row_links - row_loops) // 2, (column_links - column_loops) // 2
    edges = row_edges * columns.nodes + column_edges * rows.nodes
    return make_ready(table, _joined(KroneckerSum(rows, columns), config), edges, seconds)


def _joined(operator: KroneckerOperator, config: SpectralConfig) -> EntryOperator:
    """Take the operator of the entries, or the null of it that a config asks for."""
    if config.null is not None and config.null != "random":
        operator = null_operator(operator, config.null, config.seed)
    return EntryOperator(operator)


def _links(operator: ShiftOperator) -> tuple[int, int]:
    """Count the entries that are not zero, and those on the diagonal among them."""
    matrix = operator.matrix
    stored = np.count_nonzero(matrix if isinstance(matrix, np.ndarray) else matrix.data)
    return int(stored), int(np.count_nonzero(matrix.diagonal()))


def _of_modes(
    table: NodeTable,
    config: SpectralConfig,
    modes: KroneckerModes,
    make_ready: Callable[[NodeTable, EntryOperator, int, float], PreparedTable],
    seconds: float,
) -> PreparedTable:
    entries = modes.nodes
    return make_ready(table, _joined(modes, config), entries * (entries - 1) // 2, seconds)


def _bases(
    model: nn.Module,
    config: SpectralConfig,
    tables: Mapping[str, NodeTable],
    rows: Side,
    columns: Callable[[], Side],
    failures: dict[str, str],
    workers: CallWorkers,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Solve for all modes of the rows before the columns are measured: sums in float64 are twice as large."""
    named = dict(unwrap(model).named_parameters(remove_duplicate=False))
    dtypes = {key: named[table.parameters[0]].dtype for key, table in tables.items()}
    dtypes = {key: torch.float64 if one == torch.float64 else torch.float32 for key, one in dtypes.items()}
    left = _solved(rows, dtypes, failures, config.seed, workers)
    across = columns()
    both = {key: dtypes[key] for key in left if key not in failures}
    right = _solved(across, both, failures, config.seed, workers)
    return {key: (left[key], V) for key, V in right.items()}


def _solved(
    side: Side,
    dtypes: Mapping[str, torch.dtype],
    failures: dict[str, str],
    seed: int,
    workers: CallWorkers,
) -> dict[str, Tensor]:
    """Solve for all modes of each table, once for those that have an operator in common, or note why that fails."""
    asked: dict[str, str] = {}
    for key in dtypes:
        asked.setdefault(side.leader(key), key)
    failed: dict[str, str] = {}

    def calls() -> Iterator[tuple[str, Callable[[], Any]]]:
        for key in asked.values():
            try:
                operator = side.take(key)
            except FAILURES as error:
                failed[key] = one_line(error)
                continue
            yield key, partial(made_or_failed, _all_modes, operator, seed, dtypes[key])
            del operator

    found = {}
    for key, made in workers.results(calls(), len(asked)):
        if isinstance(made, Failed | GivenUp):
            failed[key] = made.reason
        else:
            found[key] = side.keep(made)
    firsts = {key: asked[side.leader(key)] for key in dtypes}
    failures |= {key: failed[first] for key, first in firsts.items() if first in failed}
    return {key: found[first] for key, first in firsts.items() if first in found}


def _all_modes(operator: ShiftOperator, seed: int, dtype: torch.dtype) -> Tensor:
    """Solve for all eigenvectors, the strongest or lowest first, in float64."""
    return eigenpairs(operator, seed=seed).eigenvectors.to(dtype)


def _measured_modes(
    model: nn.Module,
    config: SpectralConfig,
    tables: Mapping[str, NodeTable],
    bases: Mapping[str, tuple[Tensor, Tensor]],
    batches: Batches | None,
    measure_energy: Measure,
    failures: dict[str, str],
) -> tuple[dict[str, KroneckerModes], tuple[str, ...]]:
    r"""Measure :math:`s_{ij} / \bar s` in the modes of both graphs."""
    if not bases:
        return {}, ()
    live = {key: tables[key] for key in bases}
    _, options = source_of(model, config, "rows")
    options = {name: options[name] for name in ("objective", "seed") if name in options}
    energies: dict[str, ModeEnergy] = measure_energy(
        model, live, bases, batches, on_failure=failures.__setitem__, **options
    )
    if not energies:
        return {}, ()
    found = {}
    totals = {key: float(energy.values.sum(dtype=torch.float64)) for key, energy in energies.items()}
    entries = sum(energy.values.numel() for energy in energies.values())
    mean = sum(totals.values()) / entries
    for key, energy in energies.items():
        own = mean if config.energy == "model" else totals[key] / energy.values.numel()
        if own > 0:
            found[key] = KroneckerModes(*bases[key], energy.values.div_(own))
    together = replace(
        next(iter(energies.values())),
        text_energies=np.sum([energy.text_energies for energy in energies.values()], axis=0),
    )
    few = told_few_texts(together.effective_texts, together.texts)
    if few:
        warnings.warn(few[0], NumericalWarning, stacklevel=users_level())
    return found, few


def check_reached(reached: Sized, tables: Sized) -> None:
    """Refuse texts of which no gradient reaches any matrix."""
    if len(tables) and not len(reached):
        raise ValueError(
            f"no text's gradient reaches any of the {len(tables)} matrices: choose another objective, or other targets"
        )


def told_few_texts(effective: float, texts: int) -> tuple[str, ...]:
    """Say where few texts carry what was measured; nothing where they are enough."""
    if effective >= FEW_TEXTS:
        return ()
    return (
        f"{texts} preserved texts count as {effective:.3g} equally strong ones: with fewer than {FEW_TEXTS} the graphs "
        "know some directions by chance alone; give more texts",
    )


def told_texts(model: nn.Module, config: SpectralConfig, batches: Batches | None) -> tuple[str, ...]:
    """Say of a graph of rows or columns what was chosen for it, and where its Gram matrix is of few texts."""
    counted = None
    if batches is not None and is_moment_gram(config, config.scheme):
        counted = effective_texts(listed(batches))
    few = () if counted is None else told_few_texts(*counted)
    return told_objective(model, config) + few + told_padding(model, config, batches)


def told_padding(model: nn.Module, config: SpectralConfig, batches: Batches | None) -> tuple[str, ...]:
    """Say where the label of a text may be read at a place that is padding: that gradient is of no token.

    An encoder reads the label of a whole text at its first place, a causal model at its last token.
    """
    objectives = [source_of(model, config, scheme)[1].get("objective") for scheme in ("rows", "columns")]
    is_causal = any(getattr(module, "is_causal", False) is True for module in model.modules())
    if "labels" not in objectives or is_causal or batches is None:
        return ()
    padded = texts = 0
    seen: Any = None
    for batch in listed(batches):
        mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
        if isinstance(mask, Tensor) and mask.ndim == 2:
            first = mask[:, 0] == 0
            padded, texts = padded + int(first.sum()), texts + len(mask)
            seen = batch if seen is None and bool(first.any()) else seen
    if not padded:
        return ()
    with torch.no_grad():
        (output,) = passes(unwrap(model), [seen], lambda _, batch: run_batch(unwrap(model), batch))
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        return ()  # a label for each token
    return (
        f"{padded} of {texts} texts begin with padding, where an encoder reads its label: the gradient there is of no "
        "token and is left out; pad on the right",
    )


def told_objective(model: nn.Module, config: SpectralConfig) -> tuple[str, ...]:
    """Say which objective was found where the config leaves it open."""
    for scheme in ("rows", "columns"):
        if config.source_on(scheme)[1].get("objective", "") is None:
            found = source_of(model, config, scheme)[1]["objective"]
            return (f"gradients are of the objective {found!r}, chosen by the kind of model",)
    return ()
