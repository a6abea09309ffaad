"""Fine-tuning with the spectrum of a parameter graph: penalty, gradient filter, and refinement without training."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_exports, typed_imports

if TYPE_CHECKING:
    from spectral_opt.config.config import SpectralConfig as SpectralConfig
    from spectral_opt.explanation.explanation import Explanation as Explanation, explain as explain
    from spectral_opt.functional.filtering import filter_gradients as filter_gradients
    from spectral_opt.functional.low_rank_penalty import (
        low_rank_penalty_gradient as low_rank_penalty_gradient,
        low_rank_penalty_value as low_rank_penalty_value,
    )
    from spectral_opt.functional.penalty import (
        penalty_gradient as penalty_gradient,
        penalty_value as penalty_value,
    )
    from spectral_opt.functional.transforms import (
        chain as chain,
        clip_by_global_norm as clip_by_global_norm,
        masked as masked,
        project as project,
    )
    from spectral_opt.hooks import SpectralHandle as SpectralHandle, attach as attach
    from spectral_opt.integrations.transformers_callback import SpectralCallback as SpectralCallback
    from spectral_opt.preparation.preparing import prepare as prepare
    from spectral_opt.refinement.refiner import Refiner as Refiner, refine as refine

__getattr__, __dir__ = lazy_exports(__name__, typed_imports(__name__, __file__))
__all__ = __dir__()
