"""What a bound table does in a step: penalty, filter and basis.

A table of another kind (the factors of an adapter, parameters that are split over ranks) is a subclass: the hooks
call nothing but the methods here and those of :class:`spectral_opt.training.penalized_table.PenalizedTable`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from paramgraph.filters import evaluate_response
from spectral_opt.functional import filter_table, match_norm, put_back
from spectral_opt.half_precision import wide
from spectral_opt.training._in_place import filter_, writable_view
from spectral_opt.training.basis_step import BasisStep, enter_basis
from spectral_opt.training.penalized_table import PenalizedTable

Energies = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class BoundTable(PenalizedTable):
    """A prepared table with its config and its live parameters, and all that is done to them in a step.

    Parameters
    ----------
    config : SpectralConfig
        What to do.
    prepared : PreparedTable
        Table, operator and filter.
    parameters : dict of str to Parameter
        The model's own parameters, which the methods with a trailing underscore change.
    """

    def acts_on(self, placement: str) -> bool:
        """Say whether this table has a filter there that changes anything.

        Parameters
        ----------
        placement : {"gradient", "update", "basis"}
            Where.

        Returns
        -------
        bool
            False for the identity: adding a zero would turn -0.0 into 0.0. The basis changes the optimizer's rule
            whatever the response.
        """
        if not self.config.has_filter or self.config.placement != placement:
            return False
        if placement == "basis":
            return True
        return self.prepared.filter is not None and not self.prepared.filter.is_identity

    def filter_gradient_(self) -> Energies:
        """Filter `.grad`.

        Returns
        -------
        (Tensor, Tensor)
            Squared norms before and after the filter, before norm matching.
        """
        gradients = self._gradients()
        view = None if self.config.norm_matching else writable_view(self.prepared.table, gradients)
        found = None if view is None else filter_(view, self.prepared.filter)
        if found is not None:
            return found
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
        update = {name: wide(p.detach()) - wide(before[name]) for name, p in self.parameters.items()}
        view = None if self.config.norm_matching else writable_view(self.prepared.table, self.parameters)
        if view is not None:
            found = filter_(self.prepared.table.gather(update), self.prepared.filter, view)
            if found is not None:
                return found
        X, filtered, energies = self._filter(update)
        self._add_(filtered - X)
        return energies

    def enter_basis_(self) -> BasisStep:
        """Rotate parameters and gradients into the basis of the graph, for one step of the optimizer.

        Returns
        -------
        BasisStep
            To be given to `leave_basis_`.
        """
        return enter_basis(self.prepared.table, self.parameters, self._basis)

    def leave_basis_(self, step: BasisStep) -> Energies:
        """Rotate what the optimizer did back, filtered.

        Parameters
        ----------
        step : BasisStep
            From `enter_basis_`.

        Returns
        -------
        (Tensor, Tensor)
            Squared norms of the increment before and after the filter, before norm matching.
        """
        increment, filtered = step.leave(self._gain, self.config.norm_matching)
        return _energy(increment), _energy(filtered)

    @cached_property
    def _basis(self) -> Tensor:
        spectrum, like = self.prepared.spectrum, next(iter(self.parameters.values()))
        assert spectrum is not None  # prepared so for placement "basis"
        dtype = torch.promote_types(like.dtype, torch.float32)
        return spectrum.eigenvectors.to(like.device, dtype)

    @cached_property
    def _gain(self) -> Tensor:
        spectrum = self.prepared.spectrum
        assert spectrum is not None
        gain = evaluate_response(self.config.make_response(), spectrum.eigenvalues.to("cpu", torch.float64))
        return gain.to(self._basis)

    def _filter(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Energies]:
        X = self.prepared.table.gather(tensors)
        filtered = filter_table(X, self.prepared.filter, check=False)
        # Kept as tensors: reading them here would stop an accelerator at every table.
        energies = _energy(X), _energy(filtered)
        return X, match_norm(filtered, X) if self.config.norm_matching else filtered, energies


def _energy(X: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(X, dtype=torch.promote_types(X.dtype, torch.float32))
    return norm.square()
