"""Graphs that all ranks share: features measured on all, one build on rank 0, the result sent to all."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paramgraph.measures import ModeEnergy, product_energy
from paramgraph.nodes import NodeTable
from paramgraph.sources import (
    Batches,
    Loss,
    OnFailure,
    PendingFeatures,
    SharedAccumulator,
    Source,
    SourceLike,
    as_source,
    batch_loss,
    collect_in_turn,
)
from paramgraph.workers import CallWorkers
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation.calibration import (
    CalibrationBatches,
    CalibrationLoss,
    calibration_sets,
    check_calibration,
    needs_batches,
)
from spectral_opt.preparation.matching import match_tables
from spectral_opt.preparation.prepared_table import PreparedTable
from spectral_opt.preparation.preparing import prepare_tables
from spectral_opt.preparation.table_state import restore_table, table_tensors
from spectral_opt.ranks import Ranks, is_sharded, is_sharding, whole


def prepare_on_ranks(
    ranks: Ranks,
    model: nn.Module,
    config: SpectralConfig,
    batches: CalibrationBatches = None,
    loss: CalibrationLoss = None,
    tables: Mapping[str, NodeTable] | None = None,
    parameters: Iterable[Tensor] | None = None,
    workers: CallWorkers | None = None,
) -> tuple[PreparedTable, ...]:
    """Build graph, operator and filter of each table once, on rank 0, and hand them to all ranks.

    Each rank passes batches of its own, or all the same. Without `tables`, all that the config matches among the
    optimizer's `parameters`. Operators and filters are the same on each rank, bit by bit; a table that fails on one is
    left alone on all. `workers` build where there is one rank alone. ValueError on all ranks if calibration batches are
    missing on one, their numbers differ where
    parameters are sharded, or no table is left.

    >>> model = nn.Sequential(nn.Linear(3, 8))
    >>> prepare_on_ranks(Ranks(), model, SpectralConfig(builder="ring"))[0].edges
    8
    """
    if tables is None:
        tables = match_tables(model, config, parameters)[0]
    if ranks.size == 1:
        return prepare_tables(model, config, tables, batches, loss, workers=workers)
    with ranks.together():
        sets = calibration_sets(batches)
        check_calibration(config, sets, loss)
    if needs_batches(config) and is_sharded(model):
        sets = sets | {config.batches: _equally_many(ranks, sets[config.batches], config.batches)}

    def measure(
        model: nn.Module,
        tables: Mapping[str, NodeTable],
        source: SourceLike,
        batches: Batches,
        loss: Loss | None,
        options: Mapping[str, Any],
        on_failure: OnFailure,
    ) -> Mapping[str, Tensor]:
        return collect_on_ranks(ranks, model, tables, source, batches, loss, options, on_failure)

    def measure_energy(
        model: nn.Module,
        tables: Mapping[str, NodeTable],
        bases: Mapping[str, tuple[Tensor, Tensor]],
        batches: Batches,
        on_failure: OnFailure,
        **options: Any,
    ) -> dict[str, ModeEnergy]:
        return _energy_on_ranks(ranks, model, tables, bases, batches, on_failure, options)

    def share(table: NodeTable, config: SpectralConfig, make: Callable[[], PreparedTable]) -> PreparedTable:
        kept: list[PreparedTable] = []

        def build() -> dict[str, Tensor]:
            kept.append(make())
            return table_tensors(kept[0])

        tensors = ranks.build(build)
        # What rank 0 has built holds factors (of "solve") that the others compute when they first need them.
        return kept[0] if kept else restore_table(table, tensors, config)

    return prepare_tables(
        model, config, tables, sets, loss, measure=measure, share=share, measure_energy=measure_energy
    )


def collect_on_ranks(
    ranks: Ranks,
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    source: SourceLike,
    batches: Batches | None = None,
    loss: Loss | None = None,
    options: Mapping[str, Any] | None = None,
    on_failure: OnFailure | None = None,
) -> Mapping[str, Tensor]:
    r"""Measure features as one process would on the batches of all ranks; all of them call this.

    Gradients are averaged over all batches of all ranks, :math:`\sum_r \sum_b G_{rb} / \sum_r B_r`; where the ranks
    have equally many batches that is the mean over ranks. Of sources with a column per batch or token the sums
    :math:`X X^T` and :math:`X 1` are added up; features of a user's callable are averaged. Of sharded weights one
    matrix is gathered at a time, when its table is taken out; in a pass FSDP2 itself gathers layer by layer.
    What one rank raises, all raise; a table that fails on one is told to `on_failure` on all. Of several ranks features
    are made when they are asked for, on all ranks in one order.
    """
    if ranks.size == 1:
        return collect_in_turn(model, tables, source, batches, loss, options, on_failure)
    asked, sharded = as_source(source, **dict(options or {})), is_sharded(model)
    if asked.from_checkpoint and sharded:
        named = dict(model.named_parameters(remove_duplicate=False))
        weights = _WholeWeights(named)
        return PendingFeatures({key: partial(_gathered, asked, weights, key, t) for key, t in tables.items()})
    found: dict[str, Tensor] = {}
    kept: dict[str, SharedAccumulator] = {}
    failed: dict[str, str] = {}
    note = None if on_failure is None else failed.__setitem__
    if asked.needs_loss and sharded:
        loss = _agreed_loss(ranks, loss)
    try:
        with ranks.together():
            if asked.needs_batches:
                kept = asked.measure(model, tables, batches, loss, on_failure=note)
            else:
                found = asked.collect(model, tables, batches, loss, on_failure=note)
    finally:
        # After a forward pass alone the root's parameters stay gathered.
        modules: Any = model.modules()
        for module in modules:
            if is_sharding(module):
                module.reshard()
    failed |= {group: "nothing of it was measured" for group, one in kept.items() if one.is_empty}
    if on_failure is not None:
        for group, reason in _agreed_failures(ranks, failed).items():
            kept.pop(group, None)
            found.pop(group, None)
            on_failure(group, reason)
    if asked.function is not None:
        found = {group: ranks.sum_(X.clone()) / ranks.size for group, X in found.items()}
    return PendingFeatures(
        {group: partial(one.features_over, ranks.sum_, ranks.first_) for group, one in kept.items()}
        | {group: partial(_itself, X) for group, X in found.items()}
    )


def _energy_on_ranks(
    ranks: Ranks,
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    bases: Mapping[str, tuple[Tensor, Tensor]],
    batches: Batches,
    on_failure: OnFailure,
    options: Mapping[str, Any],
) -> dict[str, ModeEnergy]:
    """Average energies over the texts of all ranks, in the bases of the first: eigenvectors may differ by machine."""
    device = next(model.parameters()).device
    agreed = {
        key: (ranks.first_(U.to(device).contiguous()), ranks.first_(V.to(device).contiguous()))
        for key, (U, V) in bases.items()
    }
    failed: dict[str, str] = {}
    with ranks.together():
        own = product_energy(model, tables, agreed, batches, on_failure=failed.__setitem__, **options)
    for group, reason in _agreed_failures(ranks, failed).items():
        own.pop(group, None)
        on_failure(group, reason)
    of_texts: list[Any] = [None] * ranks.size
    torch.distributed.all_gather_object(
        of_texts, {key: energy.text_energies for key, energy in own.items()}, group=ranks.group
    )
    found = {}
    for key, energy in own.items():
        every = np.concatenate([energies[key] for energies in of_texts])
        values = ranks.sum_((energy.values * energy.texts).to(device)) / len(every)
        found[key] = replace(energy, values=values.cpu(), text_energies=every)
    return found


def _agreed_failures(ranks: Ranks, failed: Mapping[str, str]) -> dict[str, str]:
    """Join what failed on each rank, with the reason of the first: a sum over ranks needs all of them."""
    of_ranks: list[Any] = [None] * ranks.size
    torch.distributed.all_gather_object(of_ranks, dict(failed), group=ranks.group)
    agreed: dict[str, str] = {}
    for rank, reasons in enumerate(of_ranks):
        for group, reason in reasons.items():
            everywhere = all(group in others for others in of_ranks)
            agreed.setdefault(group, reason if everywhere else f"{reason} (on rank {rank})")
    return agreed


class _WholeWeights(Mapping[str, Tensor]):
    """Sharded parameters by name, each gathered when it is asked for."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters

    def __getitem__(self, name: str) -> Tensor:
        return whole(self._parameters[name].detach())

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


def _itself(features: Tensor) -> Tensor:
    return features


def _gathered(source: Source, weights: _WholeWeights, key: str, table: NodeTable) -> Tensor:
    return source.collect(weights, {key: table})[key].clone()


def _agreed_loss(ranks: Ranks, loss: Loss | None) -> Loss:
    """Check the loss on all ranks before the backward pass, in which they wait for each other."""
    numbers = itertools.count()

    def agreed(model: nn.Module, batch: Any) -> Tensor:
        with ranks.together():
            value = batch_loss(model, batch, loss, next(numbers))
        return value

    return agreed


def _equally_many(ranks: Ranks, batches: Any, name: str) -> Any:
    """Refuse other numbers of batches: each forward pass gathers parameters from all ranks."""
    counted = batches if isinstance(batches, Sized) else list(batches)
    number = torch.tensor([len(counted)])
    found: list[Any] = [None] * ranks.size
    torch.distributed.all_gather_object(found, int(number), group=ranks.group)
    if len(set(found)) > 1:
        raise ValueError(
            f"the ranks have {found} calibration batches {name!r}; where parameters are sharded, a pass needs all "
            "ranks, so give each rank equally many"
        )
    return counted
