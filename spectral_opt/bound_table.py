"""One prepared table of one config, bound to the parameters of a model, and what it does in a step."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spectral_opt.config import SpectralConfig
from spectral_opt.penalty import decoupled_step, penalty_gradient, penalty_value
from spectral_opt.preparation import PreparedTable
from spectral_opt.table_filter import filter_table, match_norm, put_back

Energies = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class BoundTable:
    """A prepared table with its config and its live parameters.

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

    def signal(self, start: Mapping[str, Tensor]) -> Tensor:
        """Gather what the penalty is on: the delta or the weights, differentiably.

        Parameters
        ----------
        start : mapping of str to Tensor
            Theta_0 of at least this table's parameters; not read for weights.

        Returns
        -------
        Tensor of shape (nodes, width)
            The signal.
        """
        X = self.prepared.table.gather(self.parameters)
        return X - self.prepared.table.gather(start) if self.config.penalty_on == "delta" else X

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
            value = penalty_value(self.signal(start), self.prepared.operator, self.config.ridge)
            scaled: Tensor = self.config.penalty * value
            return scaled

    def add_penalty_gradient_(self, start: Mapping[str, Tensor]) -> None:
        """Add the penalty's gradient to `.grad`.

        Parameters
        ----------
        start : mapping of str to Tensor
            Theta_0.
        """
        gradient = penalty_gradient(self.signal(start), self.prepared.operator, self.config.ridge)
        for name, change in self.prepared.table.scatter(gradient).items():
            grad = self.parameters[name].grad
            if grad is not None:
                grad.add_(change, alpha=self.config.penalty)

    def filter_gradient_(self) -> Energies:
        """Filter `.grad`.

        Returns
        -------
        (Tensor, Tensor)
            Squared norms before and after the filter, before norm matching.
        """
        gradients = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        X, filtered, energies = self._filter(gradients)
        for name, value in put_back(gradients, self.prepared.table, X, filtered).items():
            gradients[name].copy_(value)
        return energies

    def filter_update_(self, before: Mapping[str, Tensor]) -> Energies:
        """Add (h(L) - I) Delta to the parameters, Delta being what the optimizer just did.

        Parameters
        ----------
        before : mapping of str to Tensor
            The parameters before the step.

        Returns
        -------
        (Tensor, Tensor)
            Squared norms before and after the filter, before norm matching.
        """
        update = {name: parameter - before[name] for name, parameter in self.parameters.items()}
        X, filtered, energies = self._filter(update)
        self._add_(filtered - X)
        return energies

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
                f"the parameters of table {self.prepared.table.group!r} have the learning rates "
                f"{sorted(found)}; a decoupled penalty needs one per table"
            )
        X = self.signal(start)
        step = found.pop() * self.config.penalty
        moved, kind = decoupled_step(X, self.prepared.operator, self.config.ridge, step)
        self._add_(moved - X)
        return kind

    def _filter(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Energies]:
        X = self.prepared.table.gather(tensors)
        filtered = filter_table(X, self.prepared.filter, check=False)
        # Kept as tensors: reading them here would stop an accelerator at every table.
        energies = _energy(X), _energy(filtered)
        return X, match_norm(filtered, X) if self.config.norm_matching else filtered, energies

    def _add_(self, X: Tensor) -> None:
        for name, change in self.prepared.table.scatter(X).items():
            self.parameters[name].add_(change)


def _energy(X: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(X, dtype=torch.float32)
    return norm.square()
