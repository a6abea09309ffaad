"""Theta_0 of a run whose optimizer, and on resume whose trained weights, come after the model."""

import weakref
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import FactorTable, bare_model, match_tables
from spectral_opt.training import SpectralHandle


class StartWeights:
    """Keep Theta_0 of the parameters that some configs act on.

    Memory: one copy of those parameters until the first handle; from then on the handle's own copy is shared, which
    holds those with a penalty on the delta only, and of the others their checksum.

    Parameters
    ----------
    model : nn.Module
        Bare or wrapped, in the state Theta_0.
    configs : sequence of SpectralConfig
        What will act.
    parameters : iterable of Tensor, optional
        Of the optimizer; None: those that require a gradient.

    Examples
    --------
    >>> start = StartWeights(nn.Sequential(nn.Linear(2, 3)), [SpectralConfig()])
    >>> list(start.tensors)
    ['0.weight']
    """

    def __init__(
        self,
        model: nn.Module,
        configs: Sequence[SpectralConfig],
        parameters: Iterable[Tensor] | None = None,
    ) -> None:
        bare = bare_model(model)
        held = [p for p in bare.parameters() if p.requires_grad] if parameters is None else list(parameters)
        names = dict.fromkeys(
            name
            for config in configs
            for table in match_tables(bare, config, held)[0].values()
            for name in (*table.parameters, *(table.factors if isinstance(table, FactorTable) else ()))
        )
        named = dict(bare.named_parameters(remove_duplicate=False))
        self._model = weakref.ref(bare)
        self.tensors = {name: named[name].detach().clone() for name in names}
        self.checksum: Tensor | None = None

    def is_of(self, model: nn.Module) -> bool:
        """Say whether this is Theta_0 of this very model, and not of one that was made anew.

        Parameters
        ----------
        model : nn.Module
            Bare or wrapped.

        Returns
        -------
        bool
            Compared by identity.
        """
        return self._model() is bare_model(model)

    def moved(self, model: nn.Module) -> list[str]:
        """List the parameters that are no longer what they were.

        Parameters
        ----------
        model : nn.Module
            Bare or wrapped.

        Returns
        -------
        list of str
            Names; not those that a parallel engine holds in another form by now.
        """
        named = dict(bare_model(model).named_parameters(remove_duplicate=False))
        return [
            name
            for name, value in self.tensors.items()
            if name in named
            and type(named[name].data) is Tensor
            and not torch.equal(value.to(named[name]), named[name].detach())
        ]

    def give(self, handle: SpectralHandle) -> None:
        """Make this the Theta_0 of a handle, and share memory with it.

        Parameters
        ----------
        handle : SpectralHandle
            Attached to weights that may be trained ones.

        Raises
        ------
        ValueError
            If the handle acts on parameters that this holds nothing of.
        """
        handle.load_start(self.tensors, self.checksum)
        self.take(handle)

    def take(self, handle: SpectralHandle) -> None:
        """Keep a handle's Theta_0 in place of the own copy.

        Parameters
        ----------
        handle : SpectralHandle
            Attached to Theta_0.
        """
        self.tensors, self.checksum = dict(handle.start), handle.checksum
