r"""The penalty of a low-rank update, beside the filters of its factors.

With :math:`\Delta = s\,(B A - B_0 A_0)` and an operator M on the rows (on the columns, the other way round):

.. math:: R = \text{penalty} \cdot \operatorname{tr}(\Delta^T M \Delta), \qquad M = L + \text{ridge}\, I

Its decoupled step :math:`\Delta \mapsto (I - 2 \eta M) \Delta` is, for an update that started at zero, exactly the step
:math:`B \mapsto (I - 2 \eta M) B` of the factor whose nodes the graph has; the other factor is left alone. An
operator on all entries of the update, a tensor product or measured modes, has a gradient for each factor and no such
step.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.spectra import KroneckerOperator, ShiftOperator, SignalOperator, wide
from spectral_opt.config import SpectralConfig
from spectral_opt.functional import Axis, low_rank_penalty_gradient, low_rank_penalty_value
from spectral_opt.preparation import (
    EntryOperator,
    FactorTable,
    PreparedTable,
    check_starts,
    low_rank_scale,
    starts_with_an_update,
)
from spectral_opt.training._in_place import PenaltyForm
from spectral_opt.training.bound_table import BoundTable, Live, copied


@dataclass(frozen=True, eq=False)
class _InRows(SignalOperator):
    """Multiply by a symmetric operator in compressed sparse rows of the factor's dtype, with narrow indices."""

    operator: ShiftOperator
    form: PenaltyForm

    @property
    def shape(self) -> tuple[int, int]:
        """Square."""
        return self.operator.shape

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.operator.nodes

    @property
    def bound(self) -> float:
        """Upper bound of the absolute eigenvalues."""
        return self.operator.bound

    def __matmul__(self, X: Tensor) -> Tensor:
        matrix = self.form.matrix(X)
        assert matrix is not None  # symmetric
        return matrix @ X.detach()


@dataclass(frozen=True)
class AdapterTable(BoundTable):
    """One factor of a low-rank update: a filter of its own, and the penalty of the whole update.

    `factors` are B and A, and E in AdaLoRA, in this order. The present scale of PEFT's `layer` is read at each use;
    `start_scale` is s at the start, None where B_0 A_0 = 0, so that nothing of the start is read or kept.
    """

    factors: dict[str, nn.Parameter]
    layer: nn.Module
    start_scale: float | None

    @property
    def touched(self) -> dict[str, nn.Parameter]:
        """All parameters that the methods read or change."""
        return self.factors

    def copy_start(
        self, known: Collection[str] = (), keep: Callable[[str, Tensor], Tensor] = copied
    ) -> dict[str, Tensor]:
        """Copy the factors, where the update does not start at zero.

        Where B_0 A_0 = 0, zeros without memory of their own, so that a resumed run finds the start there.
        """
        if not self._own_config.penalty:
            return {}
        factors = {name: p.detach() for name, p in self.factors.items() if name not in known}
        if self.start_scale is None:
            return {name: p.new_zeros(()).expand(p.shape) for name, p in factors.items()}
        return {name: keep(name, p) for name, p in factors.items()}

    def with_start(self, start: Mapping[str, Tensor]) -> "AdapterTable":
        """Take other factors at the start, of the same scale; a decoupled penalty refuses a start that is not zero."""
        if not self._own_config.penalty:
            return self
        check_starts(self.config, [self._table], start)
        scale = _start_scale(self.layer, self._table.adapter, [start[name] for name in self.factors])
        return replace(self, start_scale=scale)

    def signal(self, start: Mapping[str, Tensor], live: Live | None = None) -> Tensor:
        """Gather the factor (nodes, rank) that a decoupled step moves."""
        return wide(self._own.gather(self._parts(self.parameters)))

    def penalty(self, start: Mapping[str, Tensor], live: Live | None = None) -> Tensor:
        """Compute penalty x tr(D^T (L + ridge I) D) of D = s (B A - B_0 A_0), without forming D."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.penalty_mode == "loss"):
            B, right, _ = self._product()
            operator, axis = self._operator
            value = low_rank_penalty_value(
                B, right, operator, self.ridge, axis=axis, start=self._start(start)
            )
            scaled: Tensor = self.config.penalty * value
            return scaled

    def add_penalty_gradient_(self, start: Mapping[str, Tensor], scale: Tensor | None = None) -> None:
        """Add the penalty's gradients to `.grad` of the factors that have one."""
        B, right, weights = self._product()
        operator, axis = self._operator
        of_B, of_right = low_rank_penalty_gradient(
            B, right, operator, self.ridge, axis=axis, start=self._start(start)
        )
        parameters = list(self.factors.values())
        gradients = [of_B, weights * of_right]
        if len(parameters) == 3:  # right = s diag(E) A
            s = low_rank_scale(self.layer, self._table.adapter)
            gradients.append((wide(parameters[1].detach()) * of_right).sum(1, keepdim=True) * s)
        grads = [parameter.grad for parameter in parameters]
        if self._table.expert >= 0 and grads[0] is not None and grads[1] is not None:
            grads = list(self._table.of_expert(grads[0], grads[1]))
        for grad, gradient in zip(grads, gradients, strict=True):
            if grad is not None:
                change = gradient if scale is None else gradient * scale.to(gradient.device)
                grad.add_(change, alpha=self.config.penalty)

    @property
    def _table(self) -> FactorTable:
        table = self.prepared.table
        assert isinstance(table, FactorTable)
        return table

    @property
    def _operator(self) -> tuple[SignalOperator | KroneckerOperator | None, Axis]:
        """Give the operator of the penalty and what its nodes are: rows, columns, or all entries of the update."""
        operator = self.prepared.operator
        if isinstance(operator, EntryOperator):
            return operator.operator, "entries"
        return self._in_rows or operator, "columns" if self._table.scheme == "columns" else "rows"

    @cached_property
    def _in_rows(self) -> _InRows | None:
        operator = self.prepared.operator
        if not isinstance(operator, ShiftOperator) or not operator.symmetric or operator.is_dense:
            return None
        return _InRows(operator, PenaltyForm(operator, 0.0))  # the ridge comes with the product

    def _product(self) -> tuple[Tensor, Tensor, Any]:
        """Give B, the right factor with all weights of the ranks in it, and these weights."""
        whole_B, whole_A, *E = self.factors.values()
        B, A = self._table.of_expert(whole_B, whole_A)
        weights = low_rank_scale(self.layer, self._table.adapter)
        if E:
            weights = weights * wide(E[0])
        return B, weights * wide(A), weights

    def _start(self, start: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        if self.start_scale is None:
            return None
        B, A, *E = (start[name] for name in self.factors)
        B, A = self._table.of_expert(B, A)
        right = self.start_scale * wide(A)
        return B, right * wide(E[0]) if E else right


def bind_table(
    config: SpectralConfig,
    ready: PreparedTable,
    model: nn.Module,
    named: Mapping[str, nn.Parameter],
) -> BoundTable:
    """Bind a prepared table to the live parameters of a bare model; factors in an `AdapterTable`."""
    own = {name: named[name] for name in ready.table.parameters}
    if not isinstance(ready.table, FactorTable) or not ready.table.factors:
        return BoundTable(config, ready, own)
    factors = {name: named[name] for name in ready.table.factors}
    layer = model.get_submodule(ready.table.layer_name)
    scale = _start_scale(layer, ready.table.adapter, factors.values())
    return AdapterTable(config, ready, own, factors, layer, scale)


def _start_scale(layer: nn.Module, adapter: str, factors: Iterable[Tensor]) -> float | None:
    return float(low_rank_scale(layer, adapter)) if starts_with_an_update(factors) else None
