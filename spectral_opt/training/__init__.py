"""Training: what happens inside a step of an optimizer.

A prepared table, bound to its live parameters, knows what a step does to it. The handle's hooks call the tables in one
fixed order before and after the optimizer's rule, then let the refresher build the graphs that are due. State goes to
tensors and back.

The handle: `SpectralHandle`, and `live_optimizers`, which have one.
Tables: `bind_table` makes a `BoundTable`, whose filters give `Energies`, and whose penalty may be differentiated by
`Live` parameters; `own_table` and `own_parts`, of an expert its one matrix in the stack; `BasisStep` and `enter_basis`
are a step in the basis of a graph.
Optimizers: `stepping_optimizer` inside of an `OptimizerWrapper`; `check_groups`, `learning_rates`, `read_scaling`.
Graphs built anew: `Refresher`. Graphs of each step's own gradients: the optimizer `SpectralPower`.
Theta_0 that is stored elsewhere: `find_stored`, a `StoredStart`, of what is `StartLike`.
State: `checksum`, `describe_tables`, `prepared_from_state`.
Inside: `PenaltyForm`, `filter_` and `writable_view`, products in place; `gradient_gram` and `relative_change`, the
drift; `move_moments`, of an optimizer into another basis.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.training._in_place import (
        PenaltyForm as PenaltyForm,
        filter_ as filter_,
        writable_view as writable_view,
    )
    from spectral_opt.training._moments import move_moments as move_moments
    from spectral_opt.training.adapter_table import bind_table as bind_table
    from spectral_opt.training.basis_step import BasisStep as BasisStep, enter_basis as enter_basis
    from spectral_opt.training.bound_table import (
        BoundTable as BoundTable,
        Energies as Energies,
        Live as Live,
    )
    from spectral_opt.training.handle import (
        SpectralHandle as SpectralHandle,
        live_optimizers as live_optimizers,
    )
    from spectral_opt.training.inner_optimizer import (
        OptimizerWrapper as OptimizerWrapper,
        stepping_optimizer as stepping_optimizer,
    )
    from spectral_opt.training.optimizer_groups import (
        check_groups as check_groups,
        learning_rates as learning_rates,
        read_scaling as read_scaling,
    )
    from spectral_opt.training.own_matrix import own_parts as own_parts, own_table as own_table
    from spectral_opt.training.refresh import (
        Refresher as Refresher,
        gradient_gram as gradient_gram,
        relative_change as relative_change,
    )
    from spectral_opt.training.spectral_power import SpectralPower as SpectralPower
    from spectral_opt.training.state import (
        checksum as checksum,
        describe_tables as describe_tables,
        prepared_from_state as prepared_from_state,
    )
    from spectral_opt.training.stored_start import (
        StartLike as StartLike,
        StoredStart as StoredStart,
        find_stored as find_stored,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
