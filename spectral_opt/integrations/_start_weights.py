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
    holds those with a penalty on the delta only, and of the others their checksum. Without the optimizer's
    `parameters`, those that require a gradient.
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
        """Say whether this is Theta_0 of this very model, and not of one that was made anew."""
        return self._model() is bare_model(model)

    def moved(self, model: nn.Module) -> list[str]:
        """List parameters that have changed; not those that a parallel engine holds in another form by now."""
        named = dict(bare_model(model).named_parameters(remove_duplicate=False))
        return [
            name
            for name, value in self.tensors.items()
            if name in named
            and type(named[name].data) is Tensor
            and not torch.equal(value.to(named[name]), named[name].detach())
        ]

    def give(self, handle: SpectralHandle) -> None:
        """Make this the Theta_0 of a handle on weights that may be trained ones, and share memory with it."""
        handle.load_start(self.tensors, self.checksum)
        self.take(handle)

    def take(self, handle: SpectralHandle) -> None:
        """Keep the Theta_0 of a handle attached to it in place of the own copy."""
        self.tensors, self.checksum = dict(handle.start), handle.checksum
