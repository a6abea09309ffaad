"""Graphs that all ranks share: features measured on all, one build on rank 0, the result sent to all."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.nodes import NodeTable, TableAssembly
from paramgraph.sources import (
    MeanFeatures,
    StreamingGram,
    activation_passes,
    attention_passes,
    batch_loss,
    check_scheme,
    collect,
    gradient_passes,
)
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation.calibration import calibration_sets, check_calibration, needs_batches
from spectral_opt.preparation.matching import match_tables
from spectral_opt.preparation.prepared_table import PreparedTable
from spectral_opt.preparation.preparing import prepare_tables
from spectral_opt.preparation.table_state import restore_table, table_tensors
from spectral_opt.ranks import Ranks
from spectral_opt.split_tensors import is_split, whole

_PASSES: dict[str, tuple[Callable[..., Any], type[MeanFeatures] | type[StreamingGram]]] = {
    "gradients": (gradient_passes, MeanFeatures),
    "batch_gradients": (gradient_passes, StreamingGram),
    "activations": (activation_passes, StreamingGram),
    "attention_maps": (attention_passes, StreamingGram),
}


def prepare_on_ranks(
    ranks: Ranks,
    model: nn.Module,
    config: SpectralConfig,
    batches: Any = None,
    loss: Any = None,
    tables: Mapping[str, NodeTable] | None = None,
    parameters: Iterable[Tensor] | None = None,
) -> tuple[PreparedTable, ...]:
    """Build graph, operator and filter of each table once, on rank 0, and hand them to all ranks.

    Parameters
    ----------
    ranks : Ranks
        Who trains together; all of them call this.
    model : nn.Module
        Bare model.
    config : SpectralConfig
        What to build.
    batches, loss
        As in :func:`spectral_opt.preparation.preparing.prepare`. Each rank passes batches of its own, or all the same.
    tables : mapping of str to NodeTable, optional
        Those to build; None: all that the config matches.
    parameters : iterable of Tensor, optional
        Parameters of the optimizer, where `tables` is None.

    Returns
    -------
    tuple of PreparedTable
        In the order of `tables`; the same operators and filters, bit by bit, on each rank.

    Raises
    ------
    ValueError
        On all ranks, if calibration batches are missing on one, their numbers differ where parameters are sharded, or
        a builder fails.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 8))
    >>> prepare_on_ranks(Ranks(), model, SpectralConfig(builder="ring"))[0].edges
    8
    """
    if tables is None:
        tables = match_tables(model, config, parameters)[0]
    if ranks.size == 1:
        return prepare_tables(model, config, tables, batches, loss)
    with ranks.together():
        sets = calibration_sets(batches)
        check_calibration(config, sets, loss)
    if needs_batches(config) and is_sharded(model):
        sets = sets | {config.batches: _equally_many(ranks, sets[config.batches], config.batches)}

    def measure(
        model: nn.Module, tables: Mapping[str, NodeTable], source: Any, batches: Any, loss: Any
    ) -> dict[str, Tensor]:
        return collect_on_ranks(ranks, model, tables, source, batches, loss)

    def share(table: NodeTable, config: SpectralConfig, make: Callable[[], PreparedTable]) -> PreparedTable:
        kept: list[PreparedTable] = []

        def build() -> dict[str, Tensor]:
            kept.append(make())
            return table_tensors(kept[0])

        tensors = ranks.build(build)
        # What rank 0 has built holds factors (of "solve") that the others compute when they first need them.
        return kept[0] if kept else restore_table(table, tensors, config)

    return prepare_tables(model, config, tables, sets, loss, measure=measure, share=share)


def collect_on_ranks(
    ranks: Ranks,
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    source: Any,
    batches: Any = None,
    loss: Any = None,
) -> dict[str, Tensor]:
    r"""Measure features as one process would on the batches of all ranks.

    Gradients are averaged over all batches of all ranks, :math:`\sum_r \sum_b G_{rb} / \sum_r B_r`; where the ranks
    have equally many batches that is the mean over ranks. Of sources with a column per batch or token the sums
    :math:`X X^T` and :math:`X 1` are added up.

    Parameters
    ----------
    ranks : Ranks
        Who trains together; all of them call this.
    model : nn.Module
        Bare model; sharded parameters are gathered layer by layer by FSDP2 itself.
    tables : mapping of str to NodeTable
        Which parameters.
    source : str or callable
        As in `paramgraph.collect`; features of a callable are averaged over the ranks.
    batches : iterable, optional
        Of this rank.
    loss : callable, optional
        As in `paramgraph.collect`.

    Returns
    -------
    dict of str to Tensor
        The same on each rank. Of sharded weights one matrix is gathered at a time, when it is taken out with `pop`.

    Raises
    ------
    ValueError
        On all ranks, if one cannot measure: a loss or a gradient that is not finite, a layer that did not run.

    Examples
    --------
    >>> from paramgraph import rows
    >>> model = nn.Sequential(nn.Linear(3, 8))
    >>> collect_on_ranks(Ranks(), model, rows(model), "weights")["0.weight"].shape
    torch.Size([8, 3])
    """
    if ranks.size == 1:
        return collect(model, tables, source, batches, loss)
    if source == "weights" and is_sharded(model):
        return _GatheredWeights(dict(model.named_parameters(remove_duplicate=False)), tables)
    found: dict[str, Tensor] = {}
    kept: dict[str, Any] = {}
    if is_sharded(model) and source in ("gradients", "batch_gradients"):
        loss = _agreed_loss(ranks, loss)
    try:
        with ranks.together():
            if source in _PASSES:
                kept = _measured(ranks, model, tables, source, batches, loss)
            else:
                found = collect(model, tables, source, batches, loss)
    finally:
        # After a forward pass alone the root's parameters stay gathered.
        modules: Any = model.modules()
        for module in modules:
            if hasattr(module, "reshard") and hasattr(module, "unshard"):
                module.reshard()
    for group, accumulator in kept.items():
        found[group] = _joined(ranks, accumulator, tables[group].shape[0])
    if callable(source):
        found = {group: ranks.sum_(X.clone()) / ranks.size for group, X in found.items()}
    return found


def is_sharded(model: nn.Module) -> bool:
    """Say whether parameters of a model are split over ranks.

    Parameters
    ----------
    model : nn.Module
        Bare or wrapped.

    Returns
    -------
    bool
        True with FSDP2.

    Examples
    --------
    >>> is_sharded(nn.Linear(2, 2))
    False
    """
    return any(is_split(parameter) for parameter in model.parameters())


class _GatheredWeights(dict[str, Tensor]):
    """Sharded weights, each table gathered when it is taken out: all ranks take them in the same order."""

    def __init__(self, parameters: Mapping[str, Tensor], tables: Mapping[str, NodeTable]) -> None:
        super().__init__()
        self._parameters, self._tables = parameters, tables

    def pop(self, key: str, *default: Any) -> Tensor:
        found: dict[str, Tensor] = {}
        assembly = TableAssembly({key: self._tables[key]}, found.__setitem__)
        for name in self._tables[key].parameters:
            assembly.add(name, whole(self._parameters[name].detach()))
        return found[key].clone()

    def __getitem__(self, key: str) -> Tensor:
        return self.pop(key)


def _measured(
    ranks: Ranks, model: nn.Module, tables: Mapping[str, NodeTable], source: str, batches: Any, loss: Any
) -> dict[str, Any]:
    check_scheme(source, tables.values())
    passes, keep = _PASSES[source]
    kept: dict[str, Any] = {group: keep(table.shape[0]) for group, table in tables.items()}
    for _ in passes(model, tables, batches, loss, lambda group, X: kept[group].add(X)):
        pass
    return kept


def _agreed_loss(ranks: Ranks, loss: Any) -> Callable[[nn.Module, Any], Tensor]:
    """Check the loss on all ranks before the backward pass, in which they wait for each other."""
    numbers = itertools.count()

    def agreed(model: nn.Module, batch: Any) -> Tensor:
        with ranks.together():
            value = batch_loss(model, batch, loss, next(numbers))
        return value

    return agreed


def _joined(ranks: Ranks, accumulator: Any, nodes: int) -> Tensor:
    if isinstance(accumulator, MeanFeatures):
        mean = accumulator.features()
        count = ranks.sum_(torch.tensor(accumulator.count, dtype=torch.float64, device=mean.device))
        return ranks.sum_(mean * (accumulator.count / float(count)))
    gram, total, columns = accumulator.sums()
    number = torch.tensor(columns, dtype=torch.int64, device=gram.device)
    joined = StreamingGram(nodes)
    joined.add_sums(ranks.sum_(gram), ranks.sum_(total), int(ranks.sum_(number)), accumulator.dtype)
    features: Tensor = joined.features()
    # The square root of a matrix may differ in its last bit from machine to machine.
    return ranks.first_(features.contiguous())


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
