"""Functional: penalties and filters of plain tensors."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.functional.decoupled_penalty import (
        decoupled_step as decoupled_step,
        step_kind as step_kind,
    )
    from spectral_opt.functional.filtering import (
        filter_gradients as filter_gradients,
        gradient_filter as gradient_filter,
    )
    from spectral_opt.functional.low_rank_penalty import (
        low_rank_penalty_gradient as low_rank_penalty_gradient,
        low_rank_penalty_value as low_rank_penalty_value,
    )
    from spectral_opt.functional.penalty import (
        checked_operator as checked_operator,
        multiply as multiply,
        penalty_gradient as penalty_gradient,
        penalty_value as penalty_value,
    )
    from spectral_opt.functional.table_filter import (
        filter_in_place_of as filter_in_place_of,
        filter_table as filter_table,
        match_norm as match_norm,
        put_back as put_back,
    )
    from spectral_opt.functional.transforms import (
        chain as chain,
        clip_by_global_norm as clip_by_global_norm,
        masked as masked,
        project as project,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
