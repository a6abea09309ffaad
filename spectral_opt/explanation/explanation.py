"""explain(): which parameters a config will touch, why, how, and what a step will cost."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from paramgraph.digests import readable
from paramgraph.display import CELL, by_reason, escape, html_card, short_list
from paramgraph.nodes import coverage
from spectral_opt.config import SpectralConfig
from spectral_opt.distributed import rank_traffic, traffic_text
from spectral_opt.explanation._notes import explanation_notes
from spectral_opt.explanation._tables import (
    Ready,
    TableExplanation,
    estimate_table,
    explain_table,
    stack_of,
    table_cells,
)
from spectral_opt.explanation._timing import estimate_milliseconds, measure_table
from spectral_opt.preparation import (
    CalibrationBatches,
    CalibrationLoss,
    PreparedTable,
    as_configs,
    bare_model,
    calibration_sets,
    check_left,
    match_tables,
    needs_batches,
    prepare_on_ranks,
    refused_tables,
)
from spectral_opt.ranks import Ranks, find_ranks, is_sharded
from spectral_opt.training import OptimizerWrapper, learning_rates, stepping_optimizer

_HEADER = ("parameter", "nodes", "width", "edges", "parts", "filter", "penalty")
# A notebook stays readable; print() and to_dict() have all of them.
_SHOWN = 100


@dataclass(frozen=True)
class Explanation:
    """Say what will be touched, why, and what it costs; `print` it.

    Parameters
    ----------
    configs : tuple of SpectralConfig
        In the order in which they act.
    tables : tuple of TableExplanation
        One per config and table.
    skipped : tuple of (str, str)
        Parameters that no config touches, each with its reason.
    notes : tuple of str
        What a reader must know about these configs.
    traffic : mapping of str to int
        Bytes that attach, a step and a refresh move between ranks; empty for one process.
    coverage : tuple of str
        How much of the model's weights is in nodes, of each choice of targets once; notes warn below 90 %.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 8))
    >>> explain(model, SpectralConfig(builder="ring")).tables[0].edges
    8
    """

    configs: tuple[SpectralConfig, ...]
    tables: tuple[TableExplanation, ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    traffic: Mapping[str, int] = field(default_factory=dict)
    coverage: tuple[str, ...] = ()

    @property
    def extra_bytes(self) -> int:
        """Bytes that all tables need beside the model and the optimizer."""
        return sum(table.extra_bytes for table in self.tables)

    @property
    def flops_per_step(self) -> float:
        """Estimated operations that all tables add to a step."""
        return sum(table.flops_per_step for table in self.tables)

    @property
    def milliseconds_per_step(self) -> float:
        """Time that all tables add to a step; see `timing` for where it is from."""
        return sum(
            estimate_milliseconds(table.flops_per_step) if table.milliseconds is None else table.milliseconds
            for table in self.tables
        )

    @property
    def timing(self) -> str:
        """Where the milliseconds are from: "measured", "estimated" from operations, or "partly estimated"."""
        known = [table.milliseconds is not None for table in self.tables]
        return "measured" if all(known) else "partly estimated" if any(known) else "estimated"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; the configs as text."""
        return {
            "configs": [readable(config) for config in self.configs],
            "tables": [dataclasses.asdict(table) for table in self.tables],
            "skipped": [{"parameter": name, "reason": reason} for name, reason in self.skipped],
            "notes": list(self.notes),
            "extra_bytes": self.extra_bytes,
            "flops_per_step": self.flops_per_step,
            "milliseconds_per_step": self.milliseconds_per_step,
            "timing": self.timing,
            "traffic": dict(self.traffic),
            "coverage": list(self.coverage),
        }

    def __str__(self) -> str:
        cells = [_HEADER, *self._rows()]
        widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADER))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        lines += self.totals()
        for reason, names in self._left_alone().items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"left alone, {reason}: {', '.join(names[:3])}{more}")
        # Of experts all have one text.
        told = dict.fromkeys(table.adapter for table in self.tables if table.adapter)
        lines += [f"beside a frozen matrix: {text}" for text in told]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def totals(self) -> list[str]:
        """Write what all tables cost together: memory, operations and time of a step, and what moves between ranks."""
        return [
            f"{len(self.tables)} tables; {self.extra_bytes / 2**20:.1f} MiB beside the model; "
            f"about {self.flops_per_step / 1e9:.3g} GFLOP and {self.milliseconds_per_step:.2g} ms per step "
            f"({self.timing})",
            traffic_text(self.traffic) if self.traffic else "one process: nothing moves between ranks",
            *self.coverage,
        ]

    def _repr_html_(self) -> str:
        first, *others = self.totals()
        facts = [("in all", text) for text in others]
        facts += [
            ("left alone", f"{reason}: {short_list(names)}") for reason, names in self._left_alone().items()
        ]
        facts += [("note", note) for note in self.notes]
        return html_card("Explanation", first, facts, _grid(self._rows()) if self.tables else "")

    def _left_alone(self) -> dict[str, list[str]]:
        """List names by reason; of a stack of experts how many, as there may be thousands."""
        sizes = Counter(
            filter(None, map(stack_of, {*dict(self.skipped), *(table.parameter for table in self.tables)}))
        )
        return {reason: _without_experts(names, sizes) for reason, names in by_reason(self.skipped)}

    def _rows(self) -> list[tuple[str, ...]]:
        """Write a row for each table; one for all experts of a stack."""
        rows: dict[tuple[int, str], list[TableExplanation]] = {}
        for table in self.tables:
            rows.setdefault((table.config, stack_of(table.parameter) or table.parameter), []).append(table)
        return [table_cells(tables, len(self.configs) > 1) for tables in rows.values()]


def explain(
    model: nn.Module,
    config: SpectralConfig | Sequence[SpectralConfig],
    batches: CalibrationBatches = None,
    optimizer: Optimizer | OptimizerWrapper | None = None,
    loss: CalibrationLoss = None,
) -> Explanation:
    """Explain, before training, what `attach` with these configs would do.

    Parameters
    ----------
    model : nn.Module
        Bare or wrapped model; not changed. On the meta device no graph is built, and edges are estimates.
    config : SpectralConfig or sequence of SpectralConfig
        What to explain.
    batches : iterable, mapping of str to iterable, or None
        Calibration sets. Without a set that a config needs, its graphs are not built and their edges are
        estimates, marked with "<=".
    optimizer : torch.optim.Optimizer, optional
        Parameters that it does not hold are left out, and its learning rates decide between the explicit and the
        proximal decoupled step; without it the rate at which they change places is stated.
    loss : callable, mapping of str to callable, or None
        As in `attach`.

    Returns
    -------
    Explanation
        Matched and skipped parameters with reasons, sizes, methods and costs, and what attach, a step and a refresh
        move between ranks. Building the graphs takes as long as in `attach`; the milliseconds of a step are measured
        on stand-ins, twice for each shape of a table, and estimated from the operations for what is not built.
        Where parameters are sharded, all ranks call this together.

    Raises
    ------
    ValueError
        If a config matches nothing that can be trained.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> print(explain(model, SpectralConfig(builder=None, ridge=1.0, penalty=0.1, targets=["0"])))  # doctest: +ELLIPSIS
    parameter  nodes  width  edges  parts  filter           penalty
    0.weight   8      3      0      8      no graph: L = 0  gradient on delta
    1 tables; 0.0 MiB beside the model; about 9.6e-08 GFLOP and ... ms per step (measured)
    one process: nothing moves between ranks
    60% of the weights are in nodes: 24 of 40 entries, 16 left out as asked
    left alone, not matched by targets: 0.bias, 2.weight, 2.bias
    note: a penalty of mode 'gradient' is added inside optimizer.step(): clipping does not see it, filters ... do
    """
    configs, model = as_configs(config), bare_model(model)
    stepping = None if optimizer is None else stepping_optimizer(optimizer)[0]
    held = None if stepping is None else [p for group in stepping.param_groups for p in group["params"]]
    parameters = list(model.parameters()) if held is None else held
    prepared: list[Ready] = []
    sets = calibration_sets(batches)
    without_values = any(parameter.is_meta for parameter in model.parameters())
    for item in configs:
        if without_values or (needs_batches(item) and item.batches not in sets):
            matched = match_tables(model, item, parameters)[0]
            check_left(item, refused_tables(matched, item), len(matched))
            prepared.append(matched)
        else:
            # A sharded model cannot run on one rank; with replicas this may be called on one alone.
            ranks = find_ranks(model) if is_sharded(model) else Ranks()
            prepared.append(prepare_on_ranks(ranks, model, item, sets, loss, parameters=parameters))
    return explain_prepared(model, configs, prepared, parameters, optimizer, measured=True)


def explain_prepared(
    model: nn.Module,
    configs: Sequence[SpectralConfig],
    prepared: Sequence[Ready],
    parameters: Iterable[Tensor],
    optimizer: Optimizer | OptimizerWrapper | None = None,
    ranks: Ranks | None = None,
    measured: bool = False,
) -> Explanation:
    """Explain tables that are prepared, or, in a dict, matched only; `measured` times one table of each shape.

    `parameters` are those that may be trained; an optimizer is read for its learning rates; without `ranks` they are
    found by the model.
    """
    parameters = list(parameters)
    named = dict(bare_model(model).named_parameters())
    stepping, outside = (None, "") if optimizer is None else stepping_optimizer(optimizer)
    rates = {} if stepping is None else learning_rates(stepping)
    tables: list[TableExplanation] = []
    skipped: dict[str, str] = {}
    alone: list[tuple[int, PreparedTable]] = []
    for index, (config, ready) in enumerate(zip(configs, prepared, strict=True)):
        skipped |= match_tables(model, config, parameters)[1]
        if isinstance(ready, Mapping):
            refused = refused_tables(ready, config)
            skipped |= refused
            tables += [
                estimate_table(index, config, table, named)
                for key, table in ready.items()
                if key not in refused
            ]
            continue
        acting = [item for item in ready if not item.left_alone]
        found = [explain_table(index, config, item, named, rates) for item in acting]
        tables += _timed(config, acting, found, named, rates) if measured else found
        alone += [(index, item) for item in ready if item.left_alone]
    touched = {name for item in tables for name in item.parameters}
    skipped |= {item.table.group: item.reason for _, item in alone}
    # A table of many parameters, or of a part of one, is told by its key, and so is one that another config acts on.
    unnamed = {
        key if key not in touched else f"{index}: {key}": item
        for index, item in alone
        for key in [item.table.group]
        if key not in named or key in touched
    }
    listed = touched.union(*(item.table.parameters for item in unnamed.values()))
    others = {key: reason for key, reason in skipped.items() if stack_of(key) in named and key not in unnamed}
    listed |= set(map(stack_of, others))
    covered = [
        coverage(model, *rule) for rule in dict.fromkeys((item.targets, item.exclude) for item in configs)
    ]
    unread = {key: reason for found in covered for key, reason in found.left_out.items()}
    left = {name: skipped.get(name) or _unread(name, unread) for name in named if name not in listed}
    left |= others | {key: item.reason for key, item in unnamed.items()} | _tied(model, named)
    traffic = rank_traffic(find_ranks(model) if ranks is None else ranks, configs, prepared, named)
    notes = explanation_notes(configs, tables, prepared)
    notes += filter(None, (found.warning for found in covered))
    if outside:
        notes.append(f"acts in the steps of {type(stepping).__name__}, which {outside} holds")
    told = dict.fromkeys(map(str, covered))
    return Explanation(tuple(configs), tuple(tables), tuple(left.items()), tuple(notes), traffic, tuple(told))


def told_start(explanation: Explanation, names: Collection[str], size: int, where: str) -> Explanation:
    """Say that Theta_0 of some parameters, of so many bytes, is read where it is stored, and count no copy of it."""
    if not names:
        return explanation
    tables = tuple(
        dataclasses.replace(
            table, memory={**table.memory, "start": 0}, extra_bytes=table.extra_bytes - table.memory["start"]
        )
        if set(table.parameters) <= set(names)
        else table
        for table in explanation.tables
    )
    note = (
        f"Theta_0 of {len(names)} parameters, {size / 2**20:.1f} MiB, is read from {where}, where it lies, and not "
        "copied"
    )
    return dataclasses.replace(explanation, tables=tables, notes=(*explanation.notes, note))


def _without_experts(names: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """Write names, those of the experts of a stack together, as "3 of 4 experts of ..."."""
    counts = Counter(stack_of(name) or name for name in names)
    return [
        f"{count} of {sizes[name]} experts of {name}" if name in sizes else name
        for name, count in counts.items()
    ]


def _unread(name: str, reasons: Mapping[str, str]) -> str:
    """Say why a parameter is in no table: for a reason of its layer that no rule asks for, or by the rule."""
    path = "" if name.endswith(".bias") else name
    while path and path not in reasons:
        path = path.rpartition(".")[0]
    return reasons.get(path, "not matched by targets")


def _tied(model: nn.Module, named: Mapping[str, Tensor]) -> dict[str, str]:
    """Say of each further name of a tied parameter under which name it is listed."""
    first = {id(parameter): name for name, parameter in named.items()}
    every = bare_model(model).named_parameters(remove_duplicate=False)
    return {name: f"tied to {first[id(p)]}, listed under that name" for name, p in every if name not in named}


def _timed(
    config: SpectralConfig,
    prepared: Iterable[PreparedTable],
    tables: Iterable[TableExplanation],
    named: Mapping[str, Tensor],
    rates: Mapping[int, float],
) -> list[TableExplanation]:
    """Measure one table of each shape, and let it stand for the others."""
    times: dict[tuple[Any, ...], float | None] = {}
    timed = []
    for ready, table in zip(prepared, tables, strict=True):
        key = ready.table.shape, len(ready.table.slices), table.flops_per_step
        if key not in times:
            times[key] = measure_table(config, ready, named, rates)
        timed.append(dataclasses.replace(table, milliseconds=times[key]))
    return timed


def _grid(rows: list[tuple[str, ...]]) -> str:
    style = f"{CELL};padding-right:1em;overflow-wrap:anywhere"
    head = "".join(f'<th scope="col" style="{style};opacity:.7">{escape(name)}</th>' for name in _HEADER)
    body = "".join(
        '<tr style="background:none">'
        + "".join(f'<td style="{style}">{escape(cell)}</td>' for cell in row)
        + "</tr>"
        for row in rows[:_SHOWN]
    )
    more = f"<div>and {len(rows) - _SHOWN} more tables</div>" if len(rows) > _SHOWN else ""
    table = f'<table style="border-collapse:collapse;margin:.3em 0 0;border:0"><tr>{head}</tr>{body}</table>'
    return f"<details open><summary>tables</summary>{table}{more}</details>"
