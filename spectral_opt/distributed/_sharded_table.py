"""A table whose parameters are split over ranks by their first axis (FSDP2: DTensor, Shard(0))."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.filters import ReadyFilter
from paramgraph.nodes import NodeTable
from paramgraph.spectra import SignalOperator, wide, working_dtype
from spectral_opt.config import SpectralConfig
from spectral_opt.distributed._node_split import NodeSplit, SplitFilter, SplitOperator
from spectral_opt.distributed._shard_layout import TableShard, shards_of
from spectral_opt.functional import (
    decoupled_step,
    multiply,
    norm_factor,
    penalty_gradient,
    put_back,
    step_kind,
)
from spectral_opt.preparation import FactorTable, PreparedTable, config_on
from spectral_opt.ranks import Ranks, is_split, local
from spectral_opt.training import BasisStep, BoundTable, Energies, Live, bind_table


class _SharedPenalty(torch.autograd.Function):
    """tr(X^T (L + ridge I) X) of all ranks, with the gradient of the rows that lie here.

    The gradient is computed with the value, so that no rank waits for another during backward.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, operator: SignalOperator | None, ridge: float, ranks: Ranks) -> Tensor:
        product = torch.zeros_like(X) if operator is None else multiply(operator, X.detach())
        if ridge:
            product = product + ridge * X
        ctx.save_for_backward(product)
        return ranks.sum_((X * product).sum())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (product,) = ctx.saved_tensors
        return 2.0 * gradients[0] * product, None, None, None


@dataclass(frozen=True)
class _Shard:
    """Some columns of a table that are split alike, with operator and filter on what lies here."""

    table: NodeTable
    split: NodeSplit | None  # None where all nodes lie here
    operator: SignalOperator | None
    filter: ReadyFilter | None


@dataclass(frozen=True)
class ShardedTable(BoundTable):
    """A prepared table of which this rank holds a part; its methods are called on all ranks together.

    Of columns and whole matrices each rank has all nodes and a part of their width, so that filter and operator act
    without communication. Of rows, blocks and heads each rank has some nodes: see
    :mod:`spectral_opt.distributed._node_split`. Graphs act on each column of a signal by itself, so that the parts of a
    table that are split in either way are treated one after the other.
    """

    ranks: Ranks

    @cached_property
    def shards(self) -> tuple[_Shard, ...]:
        """The parts of the table that lie here."""
        found = shards_of(self.prepared.table, self.ranks.size, self.ranks.rank)
        return tuple(self._shard(one) for one in found)

    def penalty(self, start: Mapping[str, Tensor], live: Live | None = None) -> Tensor:
        """Compute penalty x tr(X^T (L + ridge I) X) of the whole table, the same on each rank.

        Differentiable in mode "loss"; FSDP2 averages no gradient that comes this way.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.penalty_mode == "loss"):
            values: list[Tensor] = [
                _SharedPenalty.apply(X, shard.operator, self.ridge, self.ranks)  # type: ignore[no-untyped-call]
                for shard, X in self._signals(start)
            ]
            scaled: Tensor = self.config.penalty * torch.stack(values).sum()
            return scaled

    @torch.no_grad()
    def add_penalty_gradient_(self, start: Mapping[str, Tensor], scale: Tensor | None = None) -> None:
        """Add the penalty's gradient to the part of `.grad` that lies here."""
        parts = self._gradients()
        for shard, X in self._signals(start):
            gradient = penalty_gradient(X, shard.operator, self.ridge)
            if scale is not None:
                gradient = gradient * local(scale).to(gradient.device)
            for name, change in shard.table.scatter(gradient).items():
                parts[name].add_(change, alpha=self.config.penalty)

    @torch.no_grad()
    def filter_gradient_(self) -> Energies:
        """Filter the part of `.grad` that lies here."""
        parts = self._gradients()
        found, energies = self._filtered(parts)
        for shard, X, filtered in found:
            for name, value in put_back(parts, shard.table, X, filtered).items():
                parts[name].copy_(value)
        return energies

    @torch.no_grad()
    def filter_update_(self, before: Mapping[str, Tensor]) -> Energies:
        """Add (h(L) - I) Delta to the part of the parameters that lies here."""
        now, then = (
            self._parts(self.parameters),
            self._parts({name: before[name] for name in self.parameters}),
        )
        update = {name: wide(value.detach()) - wide(then[name]) for name, value in now.items()}
        found, energies = self._filtered(update)
        for shard, X, filtered in found:
            self._add_to_(shard, filtered - X)
        return energies

    def enter_basis_(self) -> BasisStep:
        """Refuse: no rank holds what the basis rotates; `attach` refuses before it comes to this."""
        raise ValueError("placement 'basis' does not work on parameters that are split over ranks")

    @torch.no_grad()
    def decay_(self, start: Mapping[str, Tensor], rates: Mapping[int, float]) -> str:
        """Take the decoupled step of the penalty on the part that lies here."""
        step, kind = self._decoupled_size(rates), "explicit"
        for shard, X in self._signals(start):
            # Of columns all nodes lie here; of rows their operator spans the ranks, which iterate together.
            is_basis_read = shard.split is None and step_kind(shard.operator, self.ridge, step) == "proximal"
            prepare = self._in_basis if is_basis_read else None
            moved, kind = decoupled_step(X, shard.operator, self.ridge, step, prepare)
            self._add_to_(shard, moved - X)
        return kind

    def _shard(self, one: TableShard) -> _Shard:
        operator: Any = self.prepared.operator  # of a graph: entries are not split
        ready: Any = self.prepared.filter
        if one.nodes is None or one.owner is None:
            return _Shard(one.table, None, operator, ready)
        split = NodeSplit(self.ranks, one.owner, one.nodes, self.config.rank)
        return _Shard(
            one.table,
            split,
            None if operator is None else SplitOperator(operator, split),
            None if ready is None else SplitFilter(ready, split),
        )

    def _signals(self, start: Mapping[str, Tensor]) -> Iterator[tuple[_Shard, Tensor]]:
        """Gather the part of the delta or of the weights that lies here, differentiably, some columns at a time."""
        now, then = self._parts(self.parameters), {}
        if self.config.penalty_on == "delta":
            then = self._parts({name: start[name] for name in self.parameters})
        for shard in self.shards:
            X = wide(shard.table.gather(now))
            yield shard, X - wide(shard.table.gather(then)) if then else X

    def _filtered(
        self, tensors: Mapping[str, Tensor]
    ) -> tuple[list[tuple[_Shard, Tensor, Tensor]], Energies]:
        found = []
        for shard in self.shards:
            assert shard.filter is not None  # asked before, by `acts_on`
            X = shard.table.gather(tensors)
            found.append((shard, X, shard.filter(X, check=False)))
        squares = [
            torch.stack(
                [torch.linalg.vector_norm(value, dtype=working_dtype(X)).square() for value in (X, filtered)]
            )
            for _, X, filtered in found
        ]
        before, after = self.ranks.sum_(torch.stack(squares).sum(0)).unbind()
        if self.config.norm_matching:
            # With the norms of the whole table.
            factor = norm_factor(before.sqrt(), after.sqrt())
            found = [(shard, X, (filtered * factor).to(filtered.dtype)) for shard, X, filtered in found]
        return found, (before, after)

    def _parts(self, tensors: Live) -> dict[str, Tensor]:
        """Take the parts here of tensors that are split, or whole (a Theta_0 that was loaded)."""
        found = {}
        for name, value in tensors.items():
            assert isinstance(value, Tensor)  # no stack is split here
            if not is_split(value):
                chunk = max(-(-value.shape[0] // self.ranks.size), 1)
                value = value[self.ranks.rank * chunk : (self.ranks.rank + 1) * chunk]
            found[name] = local(value)
        return found

    def _gradients(self) -> dict[str, Tensor]:
        return {name: local(p.grad) for name, p in self.parameters.items() if p.grad is not None}

    def _add_to_(self, shard: _Shard, X: Tensor) -> None:
        for name, change in shard.table.scatter(X).items():
            local(self.parameters[name].detach()).add_(change)


def bind_on_ranks(
    ranks: Ranks,
    config: SpectralConfig,
    ready: PreparedTable,
    model: nn.Module,
    named: Mapping[str, nn.Parameter],
) -> BoundTable:
    """Bind a prepared table to the live parameters of a model, or as a `ShardedTable` to their parts on this rank.

    ValueError if a penalty is on a low-rank update whose factors are sharded.
    """
    if not any(is_split(named[name]) for name in ready.table.parameters):
        return bind_table(config, ready, model, named)
    if (
        isinstance(ready.table, FactorTable)
        and ready.table.factors
        and config_on(config, ready.table).penalty
    ):
        raise ValueError(
            f"the factors of {ready.table.layer_name!r} are sharded, and the penalty of their product needs both "
            "whole: train adapters under DistributedDataParallel, keep them out of fully_shard, or use penalty=0.0 "
            "(the filter acts on sharded factors)"
        )
    return ShardedTable(config, ready, {name: named[name] for name in ready.table.parameters}, ranks)
