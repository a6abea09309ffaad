"""What a bound table does in a step: penalty, filter and basis.

A table of another kind (the factors of an adapter, parameters that are split over ranks) is a subclass: the hooks
call nothing but the methods here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.filters import (
    ProductFilter,
    ReadyFilter,
    ResponseFunction,
    eigenvalue_rounding,
    evaluate_response,
)
from paramgraph.nodes import NodeTable
from paramgraph.spectra import wide, working_dtype
from spectral_opt.config import SpectralConfig
from spectral_opt.functional import (
    decoupled_step,
    filter_table,
    match_norm,
    penalty_gradient,
    penalty_value,
    put_back,
    step_kind,
)
from spectral_opt.preparation import PreparedTable, basis_filters, config_on, is_basis_worth
from spectral_opt.training._in_place import PenaltyForm, filter_, writable_view
from spectral_opt.training.basis_step import BasisStep, enter_basis
from spectral_opt.training.own_matrix import own_parts, own_table

# Squared norms of a table before and after its filter, before norm matching.
Energies = tuple[Tensor, Tensor]
# Parameters by name, or stacks of experts as `unbind` gives them.
Live = Mapping[str, Tensor | Sequence[Tensor]]
Table = TypeVar("Table", bound="BoundTable")


def copied(name: str, parameter: Tensor) -> Tensor:
    """Copy a parameter as it is now."""
    return parameter.detach().clone()


@dataclass(frozen=True)
class BoundTable:
    """A prepared table with its config and its live parameters, and all that is done to them in a step.

    The parameters are the model's own, by name; methods with a trailing underscore change them. Theta_0, `start`,
    holds at least this table's parameters, by name.
    """

    config: SpectralConfig
    prepared: PreparedTable
    parameters: dict[str, nn.Parameter]

    @property
    def name(self) -> str:
        """Key of the table, unique within its config."""
        return self.prepared.table.group

    @property
    def touched(self) -> dict[str, nn.Parameter]:
        """All parameters that the methods read or change."""
        return self.parameters

    @property
    def has_penalty(self) -> bool:
        """Whether a penalty is taken on this table."""
        return self._own_config.penalty > 0 and not self.prepared.left_alone

    @property
    def ridge(self) -> float:
        """What is added to every eigenvalue in the penalty of this table."""
        return self._own_config.ridge

    @property
    def has_gradient(self) -> bool:
        """Whether every parameter has a gradient: if not, a step leaves the table alone; a sparse one raises."""
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                return False
            if parameter.grad.is_sparse:
                raise ValueError(
                    f"the gradient of {name!r} is sparse; make its layer with sparse=False, or exclude it"
                )
        return True

    def acts_on(self, placement: Literal["gradient", "update", "basis"]) -> bool:
        """Say whether this table has a filter there that changes anything.

        Not the identity: adding a zero would turn -0.0 into 0.0. The basis changes the optimizer's rule whatever the
        response.
        """
        if not self.config.has_filter or self.config.placement != placement or self.prepared.left_alone:
            return False
        if placement == "basis":
            return True
        return self.prepared.filter is not None and not self.prepared.filter.is_identity

    def with_prepared(self: Table, prepared: PreparedTable) -> Table:
        """Take another graph and filter of the same table."""
        return replace(self, prepared=prepared)

    def with_start(self: Table, start: Mapping[str, Tensor]) -> Table:
        """Take another Theta_0 than the parameters at `attach`."""
        return self

    def copy_start(
        self, known: Collection[str] = (), keep: Callable[[str, Tensor], Tensor] = copied
    ) -> dict[str, Tensor]:
        """Keep what the penalty reads of the present parameters as Theta_0, but for those that are `known` already.

        `keep` (name, parameter) copies a parameter, or gives what is stored of it elsewhere. Empty without a penalty on
        the delta. Experts share a parameter, which is copied once.
        """
        # Also of a table that is left alone: a state may have its graph.
        if not self._own_config.penalty or self.config.penalty_on != "delta":
            return {}
        return {
            name: keep(name, parameter) for name, parameter in self.parameters.items() if name not in known
        }

    def signal(self, start: Mapping[str, Tensor], live: Live | None = None) -> Float[Tensor, "nodes width"]:
        """Gather what the penalty is on, the delta or the weights, differentiably, in float32 or better.

        `live` has the parameters, where stacks of experts are unbound.
        """
        X = wide(self._own.gather(self._parts(self.parameters if live is None else live)))
        return X - wide(self._own.gather(self._parts(start))) if self.config.penalty_on == "delta" else X

    def penalty(self, start: Mapping[str, Tensor], live: Live | None = None) -> Float[Tensor, ""]:
        """Compute penalty x tr(X^T (L + ridge I) X), differentiable in mode "loss", else detached."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.penalty_mode == "loss"):
            value = penalty_value(self.signal(start, live), self.prepared.operator, self.ridge)
            scaled: Tensor = self.config.penalty * value
            return scaled

    def add_penalty_gradient_(self, start: Mapping[str, Tensor], scale: Tensor | None = None) -> None:
        """Add the penalty's gradient to `.grad`, which under a GradScaler is multiplied by `scale` at present."""
        X = self.signal(start).detach()
        # Reading a scale that lies on an accelerator would stop it at every table.
        if scale is None or scale.device.type == "cpu":
            factor = 2.0 * self.config.penalty * (1.0 if scale is None else float(scale))
            if self._form.add_(writable_view(self._own, self._gradients()), X, factor):
                return
        gradient = penalty_gradient(X, self.prepared.operator, self.ridge)
        if scale is not None:
            gradient = gradient * scale.to(gradient.device)
        gradients = self._gradients()
        for name, change in self._own.scatter(gradient).items():
            gradients[name].add_(change, alpha=self.config.penalty)

    def decay_(self, start: Mapping[str, Tensor], rates: Mapping[int, float]) -> str:
        """Take the decoupled step of the penalty, and say which: "explicit" or "proximal".

        `rates` has the present learning rate of each parameter, by `id`; a table whose rates differ is a ValueError.
        """
        X, step = self.signal(start).detach(), self._decoupled_size(rates)
        if step_kind(self.prepared.operator, self.ridge, step) == "explicit":
            view = writable_view(self._own, self._parts(self.parameters))
            if self._form.add_(view, X, -2.0 * step):
                return "explicit"
            moved, kind = decoupled_step(X, self.prepared.operator, self.ridge, step)
        else:
            moved, kind = decoupled_step(X, self.prepared.operator, self.ridge, step, self._in_basis)
        self._add_(moved - X)
        return kind

    def decays_at(self, step: int) -> bool:
        """Say whether the decoupled penalty of this table acts after this step, counted from 1."""
        return step % self.config.penalty_every == 0

    def filter_gradient_(self) -> Energies:
        """Filter `.grad`."""
        gradients = self._gradients()
        view = None if self.config.norm_matching else writable_view(self._own, gradients)
        found = None if view is None else filter_(view, self._ready)
        if found is not None:
            return found
        X, filtered, energies = self._filter(gradients)
        for name, value in put_back(gradients, self._own, X, filtered).items():
            gradients[name].copy_(value)
        return energies

    def filter_update_(self, before: Mapping[str, Tensor]) -> Energies:
        """Add (h(L) - I) Delta to the parameters, Delta being what the optimizer did since they were `before`."""
        now, then = self._parts(self.parameters), self._parts(before)
        update = {name: wide(value.detach()) - wide(then[name]) for name, value in now.items()}
        view = None if self.config.norm_matching else writable_view(self._own, now)
        if view is not None:
            found = filter_(self._own.gather(update), self._ready, view)
            if found is not None:
                return found
        X, filtered, energies = self._filter(update)
        self._add_(filtered - X)
        return energies

    def enter_basis_(self) -> BasisStep:
        """Rotate parameters and gradients into the basis of the graph, for one step of the optimizer."""
        return enter_basis(self.prepared.table, self.parameters, *self._working_bases)

    def leave_basis_(self, step: BasisStep) -> Energies:
        """Rotate what the optimizer did since `enter_basis_` back, filtered."""
        increment, filtered = step.leave(self._gain, self.config.norm_matching)
        return _energy(increment), _energy(filtered)

    @cached_property
    def _own_config(self) -> SpectralConfig:
        return config_on(self.config, self.prepared.table)

    @cached_property
    def _own(self) -> NodeTable:
        """The table on what of its parameters is its own, for `_parts` of them."""
        return own_table(self.prepared.table)

    def _parts(self, tensors: Live) -> dict[str, Tensor]:
        return own_parts(self.prepared.table, tensors)

    @property
    def _ready(self) -> ReadyFilter:
        assert self.prepared.filter is not None  # asked before, by `acts_on`
        return self.prepared.filter

    @cached_property
    def _form(self) -> PenaltyForm:
        return PenaltyForm(self.prepared.operator, self.ridge)

    @cached_property
    def _in_basis(self) -> Callable[[ResponseFunction], ReadyFilter] | None:
        """Solve, at the first proximal step, for what makes all of them products; None where iterations are cheap.

        The filter of the last rate is kept: as long as that stays, nothing is made anew and nothing leaves the device.
        """
        if not is_basis_worth(self.prepared):
            return None
        return lru_cache(maxsize=1)(basis_filters(self.prepared, self.config.seed))

    def _decoupled_size(self, rates: Mapping[int, float]) -> float:
        """Compute the size of a decoupled step: learning rate x penalty x the number of steps that it stands for."""
        found = {rates[id(parameter)] for parameter in self.parameters.values()}
        if len(found) != 1:
            raise ValueError(
                f"the parameters of table {self.name!r} have the learning rates "
                f"{sorted(found)}; a decoupled penalty needs one per table"
            )
        return found.pop() * self.config.penalty * self.config.penalty_every

    @property
    def bases(self) -> tuple[Tensor, Tensor | None]:
        """Eigenvectors of the graph for placement "basis", and those of the columns where these have a graph too."""
        if isinstance(self.prepared.filter, ProductFilter) and self.prepared.filter.bases is not None:
            return self.prepared.filter.bases
        assert self.prepared.spectrum is not None  # prepared so for placement "basis"
        return self.prepared.spectrum.eigenvectors, None

    @cached_property
    def _working_bases(self) -> tuple[Tensor, Tensor | None]:
        like = next(iter(self.parameters.values()))
        basis, across = self.bases
        device, dtype = like.device, working_dtype(like)
        return basis.to(device, dtype), None if across is None else across.to(device, dtype)

    @cached_property
    def _gain(self) -> Tensor:
        if isinstance(self.prepared.filter, ProductFilter) and self.prepared.filter.gain is not None:
            return (1.0 + self.prepared.filter.gain).to(self._working_bases[0])
        spectrum, operator = self.prepared.spectrum, self.prepared.operator
        assert spectrum is not None
        assert operator is not None
        rounding = eigenvalue_rounding(spectrum, operator.bound)
        values = spectrum.eigenvalues.to("cpu", torch.float64)
        gain = evaluate_response(self.config.make_response(), values, rounding)
        return gain.to(self._working_bases[0])

    def _gradients(self) -> dict[str, Tensor]:
        return self._parts({name: p.grad for name, p in self.parameters.items() if p.grad is not None})

    def _add_(self, X: Tensor) -> None:
        parts = self._parts(self.parameters)
        for name, change in self._own.scatter(X).items():
            parts[name].add_(change)

    def _filter(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Energies]:
        X = self._own.gather(tensors)
        filtered = filter_table(X, self._ready, check=False)
        # Kept as tensors: reading them here would stop an accelerator at every table.
        energies = _energy(X), _energy(filtered)
        return X, match_norm(filtered, X) if self.config.norm_matching else filtered, energies


def _energy(X: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(X, dtype=working_dtype(X))
    return norm.square()
