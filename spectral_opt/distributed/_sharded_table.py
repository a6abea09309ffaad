"""A table whose parameters are split over ranks by their first axis (FSDP2: DTensor, Shard(0))."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.filters import ReadyFilter
from paramgraph.spectra import SignalOperator, wide, working_dtype
from spectral_opt.config import SpectralConfig
from spectral_opt.distributed._node_split import NodeSplit, SplitFilter, SplitOperator
from spectral_opt.distributed._shard_layout import TableShard, shard_of
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
class ShardedTable(BoundTable):
    """A prepared table of which this rank holds a part; its methods are called on all ranks together.

    Of columns each rank has all nodes and a part of their width, so that filter and operator act without
    communication. Of rows each rank has some nodes: see :mod:`spectral_opt.distributed._node_split`.
    """

    ranks: Ranks

    @cached_property
    def shard(self) -> TableShard:
        """The part of the table that lies here."""
        return shard_of(self.prepared.table, self.ranks.size, self.ranks.rank)

    @cached_property
    def split(self) -> NodeSplit | None:
        """Which nodes lie here; None where all do."""
        if self.shard.nodes is None or self.shard.owner is None:
            return None
        return NodeSplit(self.ranks, self.shard.owner, self.shard.nodes, self.config.rank)

    def signal(self, start: Mapping[str, Tensor], live: Live | None = None) -> Tensor:
        """Gather the part of the delta or of the weights that lies here, differentiably."""
        X = wide(self.shard.table.gather(self._parts(self.parameters)))
        if self.config.penalty_on != "delta":
            return X
        return X - wide(self.shard.table.gather(self._parts({name: start[name] for name in self.parameters})))

    def penalty(self, start: Mapping[str, Tensor], live: Live | None = None) -> Tensor:
        """Compute penalty x tr(X^T (L + ridge I) X) of the whole table, the same on each rank.

        Differentiable in mode "loss"; FSDP2 averages no gradient that comes this way.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.penalty_mode == "loss"):
            X = wide(self.signal(start))
            value: Tensor = _SharedPenalty.apply(X, self._operator, self.ridge, self.ranks)  # type: ignore[no-untyped-call]
            scaled: Tensor = self.config.penalty * value
            return scaled

    @torch.no_grad()
    def add_penalty_gradient_(self, start: Mapping[str, Tensor], scale: Tensor | None = None) -> None:
        """Add the penalty's gradient to the part of `.grad` that lies here."""
        gradient = penalty_gradient(self.signal(start), self._operator, self.ridge)
        if scale is not None:
            gradient = gradient * local(scale).to(gradient.device)
        parts = self._gradients()
        for name, change in self.shard.table.scatter(gradient).items():
            parts[name].add_(change, alpha=self.config.penalty)

    @torch.no_grad()
    def filter_gradient_(self) -> Energies:
        """Filter the part of `.grad` that lies here."""
        parts = self._gradients()
        X, filtered, energies = self._filter(parts)
        for name, value in put_back(parts, self.shard.table, X, filtered).items():
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
        X, filtered, energies = self._filter(update)
        self._add_(filtered - X)
        return energies

    def enter_basis_(self) -> BasisStep:
        """Refuse: no rank holds what the basis rotates; `attach` refuses before it comes to this."""
        raise ValueError("placement 'basis' does not work on parameters that are split over ranks")

    @torch.no_grad()
    def decay_(self, start: Mapping[str, Tensor], rates: Mapping[int, float]) -> str:
        """Take the decoupled step of the penalty on the part that lies here."""
        X, step = self.signal(start), self._decoupled_size(rates)
        # Of columns all nodes lie here; of rows their operator spans the ranks, which iterate together.
        is_basis_read = self.split is None and step_kind(self._operator, self.ridge, step) == "proximal"
        prepare = self._in_basis if is_basis_read else None
        moved, kind = decoupled_step(X, self._operator, self.ridge, step, prepare)
        self._add_(moved - X)
        return kind

    @cached_property
    def _operator(self) -> SignalOperator | None:
        whole: Any = self.prepared.operator  # of a graph: entries are not split
        return whole if whole is None or self.split is None else SplitOperator(whole, self.split)

    @cached_property
    def _graph_filter(self) -> ReadyFilter:
        whole: Any = self.prepared.filter
        return whole if self.split is None else SplitFilter(whole, self.split)

    def _filter(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Energies]:
        X = self.shard.table.gather(tensors)
        filtered: Tensor = self._graph_filter(X, check=False)
        working = working_dtype(X)
        squares = [torch.linalg.vector_norm(value, dtype=working).square() for value in (X, filtered)]
        before, after = self.ranks.sum_(torch.stack(squares)).unbind()
        if self.config.norm_matching:
            # With the norms of the whole table.
            filtered = (filtered * norm_factor(before.sqrt(), after.sqrt())).to(filtered.dtype)
        return X, filtered, (before, after)

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

    def _add_(self, X: Tensor) -> None:
        for name, change in self.shard.table.scatter(X).items():
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
