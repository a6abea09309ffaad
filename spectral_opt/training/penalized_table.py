"""A prepared table of a config, bound to the parameters of a model, and the penalty on it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn

from spectral_opt.config import SpectralConfig
from spectral_opt.functional import decoupled_step, penalty_gradient, penalty_value, step_kind
from spectral_opt.half_precision import wide
from spectral_opt.preparation import PreparedTable
from spectral_opt.training._in_place import PenaltyForm, writable_view

Table = TypeVar("Table", bound="PenalizedTable")


@dataclass(frozen=True)
class PenalizedTable:
    """A prepared table with its config and its live parameters, and the penalty on them.

    Parameters
    ----------
    config : SpectralConfig
        What to do.
    prepared : PreparedTable
        Table, operator and filter.
    parameters : dict of str to Parameter
        The model's own parameters, which the methods with a trailing underscore change.
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
        return bool(self.config.penalty > 0)

    @property
    def ridge(self) -> float:
        """What is added to every eigenvalue in the penalty of this table."""
        return float(self.config.ridge)

    @property
    def has_gradient(self) -> bool:
        """Whether every parameter has a gradient; a table without one is left alone in this step.

        Raises
        ------
        ValueError
            If a gradient is sparse.
        """
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                return False
            if parameter.grad.is_sparse:
                raise ValueError(
                    f"the gradient of {name!r} is sparse; make its layer with sparse=False, or exclude it"
                )
        return True

    def copy_start(self) -> dict[str, Tensor]:
        """Copy what the penalty reads of the start, Theta_0 being the present parameters.

        Returns
        -------
        dict of str to Tensor
            Under the names of the parameters; empty without a penalty on the delta.
        """
        if not self.has_penalty or self.config.penalty_on != "delta":
            return {}
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def with_start(self: Table, start: Mapping[str, Tensor]) -> Table:
        """Take another Theta_0 than the parameters at `attach`.

        Parameters
        ----------
        start : mapping of str to Tensor
            What the penalties read of it.

        Returns
        -------
        BoundTable
            Of the same kind, bound to the same parameters.
        """
        return self

    def with_prepared(self: Table, prepared: PreparedTable) -> Table:
        """Take another graph and filter of the same table.

        Parameters
        ----------
        prepared : PreparedTable
            In place of the present one.

        Returns
        -------
        BoundTable
            Of the same kind, bound to the same parameters.
        """
        return replace(self, prepared=prepared)

    def signal(self, start: Mapping[str, Tensor]) -> Tensor:
        """Gather what the penalty is on: the delta or the weights, differentiably.

        Parameters
        ----------
        start : mapping of str to Tensor
            Theta_0 of at least this table's parameters; not read for weights.

        Returns
        -------
        Tensor of shape (nodes, width)
            The signal, in float32 or better.
        """
        X = wide(self.prepared.table.gather(self.parameters))
        return X - wide(self.prepared.table.gather(start)) if self.config.penalty_on == "delta" else X

    def penalty(self, start: Mapping[str, Tensor]) -> Tensor:
        """Compute penalty x tr(X^T (L + ridge I) X).

        Parameters
        ----------
        start : mapping of str to Tensor
            Theta_0.

        Returns
        -------
        Tensor of shape ()
            Differentiable in mode "loss", else detached.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.penalty_mode == "loss"):
            value = penalty_value(self.signal(start), self.prepared.operator, self.ridge)
            scaled: Tensor = self.config.penalty * value
            return scaled

    def add_penalty_gradient_(self, start: Mapping[str, Tensor], scale: Tensor | None = None) -> None:
        """Add the penalty's gradient to `.grad`.

        Parameters
        ----------
        start : mapping of str to Tensor
            Theta_0.
        scale : Tensor of one element, optional
            By what `.grad` is multiplied at present, under a GradScaler.
        """
        X = self.signal(start).detach()
        # Reading a scale that lies on an accelerator would stop it at every table.
        if scale is None or scale.device.type == "cpu":
            factor = 2.0 * self.config.penalty * (1.0 if scale is None else float(scale))
            if self._form.add_(writable_view(self.prepared.table, self._gradients()), X, factor):
                return
        gradient = penalty_gradient(X, self.prepared.operator, self.ridge)
        if scale is not None:
            gradient = gradient * scale.to(gradient.device)
        for name, change in self.prepared.table.scatter(gradient).items():
            grad = self.parameters[name].grad
            if grad is not None:
                grad.add_(change, alpha=self.config.penalty)

    def decay_(self, start: Mapping[str, Tensor], rates: Mapping[int, float]) -> str:
        """Take the decoupled step of the penalty.

        Parameters
        ----------
        start : mapping of str to Tensor
            Theta_0.
        rates : mapping of int to float
            Present learning rate of each parameter, by `id`.

        Returns
        -------
        str
            "explicit" or "proximal".

        Raises
        ------
        ValueError
            If the table's parameters have different learning rates.
        """
        found = {rates[id(parameter)] for parameter in self.parameters.values()}
        if len(found) != 1:
            raise ValueError(
                f"the parameters of table {self.name!r} have the learning rates "
                f"{sorted(found)}; a decoupled penalty needs one per table"
            )
        X, step = self.signal(start).detach(), found.pop() * self.config.penalty
        if step_kind(self.prepared.operator, self.ridge, step) == "explicit":
            view = writable_view(self.prepared.table, self.parameters)
            if self._form.add_(view, X, -2.0 * step):
                return "explicit"
        moved, kind = decoupled_step(X, self.prepared.operator, self.ridge, step)
        self._add_(moved - X)
        return kind

    def _gradients(self) -> dict[str, Tensor]:
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None}

    @cached_property
    def _form(self) -> PenaltyForm:
        return PenaltyForm(self.prepared.operator, self.ridge)

    def _add_(self, X: Tensor) -> None:
        for name, change in self.prepared.table.scatter(X).items():
            self.parameters[name].add_(change)
