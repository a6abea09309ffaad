"""Fine-tuning with the spectrum of a parameter graph: penalty, gradient filter, and refinement without training."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.config import SpectralConfig as SpectralConfig
    from spectral_opt.explanation import Explanation as Explanation, explain as explain
    from spectral_opt.functional import (
        GradientFilter as GradientFilter,
        chain as chain,
        clip_by_global_norm as clip_by_global_norm,
        filter_gradients as filter_gradients,
        gradient_filter as gradient_filter,
        low_rank_penalty_gradient as low_rank_penalty_gradient,
        low_rank_penalty_value as low_rank_penalty_value,
        masked as masked,
        penalty_gradient as penalty_gradient,
        penalty_value as penalty_value,
        project as project,
    )
    from spectral_opt.hooks import attach as attach
    from spectral_opt.integrations import (
        LightningSpectralCallback as LightningSpectralCallback,
        SpectralCallback as SpectralCallback,
    )
    from spectral_opt.preparation import prepare as prepare
    from spectral_opt.refinement import Refiner as Refiner, refine as refine
    from spectral_opt.training import SpectralHandle as SpectralHandle

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
