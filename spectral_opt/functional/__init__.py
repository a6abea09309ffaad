"""Functional: penalties and filters of plain tensors, pure and without a model.

A signal X (nodes, width) and an operator, anything with `operator @ X`, give a penalty, its gradient or a step down it;
a signal and a ready filter give the filtered signal. Gradients by name are filtered at once, or by (init, update)
pairs that can be chained.

Penalties: `penalty_value`, `penalty_gradient`; of low-rank updates `low_rank_penalty_value` and
`low_rank_penalty_gradient` by `Axis`; outside an optimizer `decoupled_step`, `step_kind`; their parts `multiply`,
`checked_operator`.
Filters of gradients: `filter_gradients`; as pairs `GradientFilter`, `gradient_filter`, `chain`, `clip_by_global_norm`,
`masked`, `project`; by a power of the Gram graphs of the gradients themselves `gram_power`, its rule `GramPower` and
`DAMPING`.
Filters of tables: `filter_table`, `match_norm` and its `norm_factor`, `filter_in_place_of`, `put_back`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.functional.decoupled_penalty import (
        decoupled_step as decoupled_step,
        step_kind as step_kind,
    )
    from spectral_opt.functional.filtering import (
        GradientFilter as GradientFilter,
        filter_gradients as filter_gradients,
        filter_in_place_of as filter_in_place_of,
        filter_table as filter_table,
        gradient_filter as gradient_filter,
        match_norm as match_norm,
        norm_factor as norm_factor,
        put_back as put_back,
    )
    from spectral_opt.functional.gram_graphs import (
        DAMPING as DAMPING,
        GramPower as GramPower,
        gram_power as gram_power,
    )
    from spectral_opt.functional.low_rank_penalty import (
        Axis as Axis,
        low_rank_penalty_gradient as low_rank_penalty_gradient,
        low_rank_penalty_value as low_rank_penalty_value,
    )
    from spectral_opt.functional.penalty import (
        checked_operator as checked_operator,
        multiply as multiply,
        penalty_gradient as penalty_gradient,
        penalty_value as penalty_value,
    )
    from spectral_opt.functional.transforms import (
        chain as chain,
        clip_by_global_norm as clip_by_global_norm,
        masked as masked,
        project as project,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
