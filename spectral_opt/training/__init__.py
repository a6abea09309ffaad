"""Training: what happens inside a step."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.training.adapter_table import bind_table as bind_table
    from spectral_opt.training.basis_step import BasisStep as BasisStep, enter_basis as enter_basis
    from spectral_opt.training.bound_table import BoundTable as BoundTable, Energies as Energies
    from spectral_opt.training.gradient_scaling import read_scaling as read_scaling
    from spectral_opt.training.handle import (
        SpectralHandle as SpectralHandle,
        live_optimizers as live_optimizers,
    )
    from spectral_opt.training.optimizer_groups import (
        check_groups as check_groups,
        learning_rates as learning_rates,
    )
    from spectral_opt.training.refresh import (
        Refresher as Refresher,
        gradient_gram as gradient_gram,
        relative_change as relative_change,
    )
    from spectral_opt.training.state import checksum as checksum, prepared_from_state as prepared_from_state

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
