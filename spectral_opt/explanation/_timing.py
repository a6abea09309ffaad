"""Milliseconds that a table adds to a step: measured on stand-ins of its parameters, or estimated from operations."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import FactorTable, PreparedTable
from spectral_opt.training import BoundTable, own_parts, own_table

# Takes some milliseconds, and is large enough for the speed of a matrix product.
_SIDE = 512


def measure_table(
    config: SpectralConfig, ready: PreparedTable, named: Mapping[str, Tensor], rates: Mapping[int, float]
) -> float | None:
    """Time what the hooks do with one table in a step: milliseconds of the second of two runs on stand-ins.

    A decoupled penalty is timed at the parameters' learning rate, and counts by how often it acts. Only shapes, dtypes
    and devices of the parameters are read. None where it cannot be run here: factors of an adapter, parameters that
    are split over ranks or on no device. Memory: four copies of the table for that time.
    """
    whole = {name: named[name] for name in ready.table.parameters}
    plain = all(type(value) in (Tensor, nn.Parameter) and not value.is_meta for value in whole.values())
    if not plain or isinstance(ready.table, FactorTable):
        return None
    # Without a known rate, one so small that it takes the explicit step.
    rate = max((rates[id(value)] for value in whole.values() if id(value) in rates), default=1e-9)
    # An expert's matrix alone, as in a step.
    members = own_parts(ready.table, {name: value.detach() for name, value in whole.items()})
    ready = replace(ready, table=own_table(ready.table))
    # Not zeros: memory that was never written is not read either. Small, so that the second run meets no infinity.
    stand_ins = {name: nn.Parameter(torch.full_like(value, 1e-3)) for name, value in members.items()}
    start = {name: torch.full_like(value, 2e-3) for name, value in members.items()}
    for parameter in stand_ins.values():
        parameter.grad = torch.full_like(parameter, 1e-3)
    table = BoundTable(config, ready, stand_ins)
    device = next(iter(stand_ins.values())).device
    milliseconds = 0.0
    if table.has_penalty and config.penalty_mode == "decoupled":
        of_stand_ins = {id(p): rate for p in stand_ins.values()}
        milliseconds += _second_run(lambda: table.decay_(start, of_stand_ins), device) / config.penalty_every
    elif table.has_penalty:
        milliseconds += _second_run(lambda: table.add_penalty_gradient_(start), device)
    return milliseconds + _second_run(lambda: _filter(table), device)


def estimate_milliseconds(operations: float) -> float:
    """Turn operations into milliseconds at the speed of a dense product in float32 on this machine.

    A lower bound in most cases: sparse products are slower than dense ones.
    """
    return 1e3 * operations / _operations_per_second() if operations else 0.0


@cache
def _operations_per_second() -> float:
    matrix, fastest = torch.full((_SIDE, _SIDE), 1e-3), float("inf")
    for _ in range(5):
        started = time.perf_counter()
        matrix @ matrix
        fastest = min(fastest, time.perf_counter() - started)
    return 2.0 * _SIDE**3 / fastest


@torch.no_grad()
def _second_run(act: Callable[[], object], device: torch.device) -> float:
    milliseconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        milliseconds = 1e3 * (time.perf_counter() - started)
    return milliseconds


def _filter(table: BoundTable) -> None:
    before = {name: p.detach().clone() for name, p in table.parameters.items() if table.acts_on("update")}
    if table.acts_on("gradient"):
        table.filter_gradient_()
    elif table.acts_on("update"):
        table.filter_update_(before)
    elif table.acts_on("basis"):
        table.leave_basis_(table.enter_basis_())
