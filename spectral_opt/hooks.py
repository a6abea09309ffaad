r"""Attach penalty and filter to any torch optimizer through its step hooks, and take them off again.

The order inside one step: penalties of mode "gradient" are added to `.grad`; filters placed on the gradient act, in
the order of the configs; where the placement is "basis", parameters and gradients are rotated into the basis of
the graph; the optimizer steps; the increment is filtered and rotated back; filters placed on the update act on what
was done (weight decay included); decoupled penalties act last, so no filter touches them. Gradient clipping is the
user's affair: before `optimizer.step()` it comes before all of this. Step hooks of others run around all of it,
whenever they were registered.
"""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from paramgraph.nodes import NodeTable
from paramgraph.sources import Batches
from paramgraph.workers import check_workers
from spectral_opt.config import SpectralConfig
from spectral_opt.distributed import (
    bind_on_ranks,
    check_layout,
    check_sharded,
    check_split_filters,
)
from spectral_opt.explanation import explain_prepared, told_start
from spectral_opt.preparation import (
    CalibrationBatches,
    CalibrationLoss,
    PreparedTable,
    as_configs,
    bare_model,
    calibration_sets,
    check_calibration,
    check_starts,
    choose_graph_workers,
    match_tables,
    prepare_on_ranks,
)
from spectral_opt.ranks import find_ranks
from spectral_opt.training import (
    OptimizerWrapper as OptimizerWrapper,
    Refresher,
    SpectralHandle as SpectralHandle,
    StartLike,
    check_groups,
    describe_tables,
    find_stored,
    learning_rates,
    live_optimizers,
    stepping_optimizer,
)


def attach(
    model: nn.Module,
    optimizer: Optimizer | OptimizerWrapper,
    config: SpectralConfig | Sequence[SpectralConfig],
    batches: CalibrationBatches = None,
    loss: CalibrationLoss = None,
    prepared: Sequence[tuple[PreparedTable, ...]] | None = None,
    start: StartLike | None = None,
    *,
    workers: int | None = None,
    client: Any | None = None,  # Any: distributed's Client, of an optional and untyped library
    memory_budget: int | None = None,
) -> SpectralHandle:
    """Put penalty and filter of one or more configs on an optimizer.

    Parameters
    ----------
    model : nn.Module
        Bare, or in DistributedDataParallel or `torch.compile`, or sharded by FSDP2; its present weights are Theta_0.
    optimizer : torch.optim.Optimizer
        Any, over parameters of this model (matched by identity). Closures work. Of one that holds another (accelerate,
        Lightning, Lookahead, SAM) the innermost is taken, whose step is the one that is taken; a note says so.
    config : SpectralConfig or sequence of SpectralConfig
        Several act in their order. One live handle per optimizer: give several configs in one call.
    batches : iterable, mapping of str to iterable, or None
        Calibration batches: the set "task", or a mapping with the keys "task" and "preserve".
    loss : callable, mapping of str to callable, or None
        `loss(model, batch) -> scalar Tensor` for the source "gradients", or one for each set; None:
        `model(**batch).loss`.
    prepared : sequence of tuple of PreparedTable, optional
        One tuple per config, from `prepare`: graphs and filters of an earlier run from the same start.
        Nothing is calibrated or built then, and `batches` and `loss` are read for a `refresh` only.
    start : str, path or mapping of str to Tensor, optional
        Where Theta_0 of a penalty on the delta is stored to the last bit, so that it is read there and not copied: a
        safetensors file or folder, which must not be written to while training, or tensors by the parameters' names.
        "copy": nowhere. None: in the hub's cache, where the model was loaded from it, else nowhere. What is stored in
        another type or on another device is copied. `explanation` says which.
    workers, client, memory_budget : optional
        Processes of this machine, or a Dask cluster, that build graphs and filters from features which this process
        measures, as in `prepare`; `explanation` says how many, and which died. Of one rank alone, and not at a refresh.

    Returns
    -------
    SpectralHandle
        With `penalty`, `metrics`, `explanation`, `state_dict`, `load_state_dict` and `remove`. Parameters, `.grad`,
        buffers, mode and all random states are bitwise as before. Memory and time per step: see `explain`.

    Raises
    ------
    ValueError
        If targets match nothing that the optimizer trains, calibration batches are missing, no table can have a graph,
        `prepared` is of other tables, a decoupled penalty finds no learning rate, two configs run one parameter in
        a basis, `start` is a file or folder with other weights, the optimizer has a live handle, or workers would have
        nothing to do or too little memory. Model and optimizer are untouched then.
    TypeError
        If `model`, `optimizer`, `config`, `batches` or `loss` is of the wrong kind.

    Notes
    -----
    Where a step raises, the tables of a filter on the update or in the basis are put back as they were before it, and a
    step that is taken again with the same gradients does not change them twice. A copy or pickle of the optimizer is
    without hooks, and a warning says so.

    A table that cannot have a graph (its layer never runs, it has no more nodes than the builder asks for, or it fails
    in another way of its own) is left alone, with its reason in `explanation.skipped` and in the state, and no refresh
    tries it again: attach anew. Where a refresh fails at one table, that one keeps its graph. Experts of a stack
    (parameters of three dimensions) are tables of their own, and a step touches each once.

    After PEFT's `set_adapter` remove the handle and attach anew: a warning says at the next step that the newly active
    adapter has no tables. What is attached is acted on only while it is trained.

    What is not finite in a gradient passes through penalty and filter and stays visible; no hook raises for it.
    Parameters whose `.grad` is None are left alone. Under a GradScaler a fused optimizer gets scaled gradients: what is
    added to them is scaled too, and a step that is skipped for an overflow is skipped here.

    Where torch.distributed runs with more than one rank, all ranks call this together. Calibration gradients are
    averaged over the batches of all ranks; graphs are built on rank 0 and sent, and compared, as are the weights; what
    fails on one rank raises on all, and a table that fails on one is left alone on all. FSDP2: all
    schemes but "entries", heads and blocks where no shard cuts one, and no basis; `explain` says what is moved.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3))
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    >>> handle = attach(model, optimizer, SpectralConfig(builder="ring", penalty=0.1))
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    >>> float(handle.penalty()) > 0
    True
    >>> handle.remove()
    """
    bare = bare_model(model)
    ranks = find_ranks(model)
    with ranks.together():
        check_workers("attach", workers, client, memory_budget)
        if (workers is not None or client is not None) and (prepared is not None or ranks.size > 1):
            reason = (
                "prepared has the graphs" if ranks.size == 1 else f"rank 0 of {ranks.size} builds the graphs"
            )
            raise ValueError(f"{reason}, so workers and client would be ignored: leave them out")
        request = _check_request(bare, optimizer, config, batches, loss, prepared)
        stored = find_stored(bare, start)
    configs, bare_optimizer, parameters, named, sets = request
    # Before any pass: ranks that ask for other things would wait for each other for good.
    ranks.check_equal(
        {"config": describe_tables(configs, [])["config"]}, "give attach the same configs on every rank"
    )
    if prepared is None:
        matched = [match_tables(bare, item, parameters)[0] for item in configs]
        with closing(
            choose_graph_workers("attach", workers, client, memory_budget, configs, matched)
        ) as chosen:
            prepared = [
                prepare_on_ranks(ranks, bare, item, sets, loss, tables, workers=chosen)
                for item, tables in zip(configs, matched, strict=True)
            ]
    check_split_filters(configs, prepared, named)
    explanation = explain_prepared(bare, configs, prepared, parameters, optimizer, ranks)
    bound = [
        bind_on_ranks(ranks, item, ready, bare, named)
        for item, of_config in zip(configs, prepared, strict=True)
        for ready in of_config
    ]
    refresher = Refresher(bare, sets, loss, bound, ranks)
    handle = SpectralHandle(bare, bare_optimizer, configs, bound, explanation, refresher, ranks, stored)
    handle.explanation = told_start(explanation, stored.names, stored.size, stored.where)
    return handle


def _check_request(
    bare: nn.Module,
    given: Optimizer | OptimizerWrapper,
    config: SpectralConfig | Sequence[SpectralConfig],
    batches: CalibrationBatches,
    loss: CalibrationLoss,
    prepared: Sequence[tuple[PreparedTable, ...]] | None,
) -> tuple[tuple[SpectralConfig, ...], Optimizer, list[Tensor], dict[str, nn.Parameter], dict[str, Batches]]:
    """Check, before any work, what `attach` was given; no rank waits for another in here."""
    configs = as_configs(config)
    optimizer, _ = stepping_optimizer(given)
    if optimizer in live_optimizers:
        raise ValueError(
            "this optimizer has a live handle: remove() it, or give all configs in one attach call"
        )
    check_layout(bare)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    _check_rates(configs, optimizer)
    matched = [match_tables(bare, item, parameters)[0] for item in configs]
    _check_basis(configs, matched, optimizer)
    sets = calibration_sets(batches)
    named = dict(bare.named_parameters(remove_duplicate=False))
    check_groups(configs, matched, named, optimizer)
    for item, found in zip(configs, matched, strict=True):
        check_sharded(item, found, named)
        if prepared is None or item.refresh != "never":
            check_calibration(item, sets, loss, refreshes=True)
        if prepared is None:
            check_starts(item, found.values(), named)
    if prepared is not None and [[ready.table for ready in tables] for tables in prepared] != [
        list(tables.values()) for tables in matched
    ]:
        raise ValueError(
            "prepared does not fit: it needs one tuple per config, with the very tables that the config matches "
            "in this model; make it with prepare(model, config, batches, parameters=trained parameters)"
        )
    return configs, optimizer, parameters, named, sets


def _check_basis(
    configs: Sequence[SpectralConfig], matched: Sequence[dict[str, NodeTable]], optimizer: Optimizer
) -> None:
    """Refuse what cannot run in the basis of a graph."""
    seen: set[str] = set()
    for config, tables in zip(configs, matched, strict=True):
        if not config.runs_in_basis:
            continue
        if isinstance(optimizer, LBFGS):
            raise ValueError(
                "placement 'basis' needs an optimizer that evaluates its closure once in a step; LBFGS does not: use "
                "placement='gradient' or 'update'"
            )
        names = {name for table in tables.values() for name in table.parameters}
        if seen & names:
            raise ValueError(
                f"two configs have placement 'basis' on {sorted(seen & names)[:3]}; a parameter has one basis: give "
                "the other config placement='update'"
            )
        seen |= names


def _check_rates(configs: Sequence[SpectralConfig], optimizer: Optimizer) -> None:
    """Refuse a decoupled penalty where a step has no size that is known from outside."""
    if not any(config.penalty and config.penalty_mode == "decoupled" for config in configs):
        return
    rates = learning_rates(optimizer)
    if any(id(parameter) not in rates for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError(
            f"a decoupled penalty needs a learning rate 'lr' in every parameter group, and this "
            f"{type(optimizer).__name__} has a group without a number there; use penalty_mode='gradient', or set its lr"
        )
