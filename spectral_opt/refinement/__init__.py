"""Refinement: the filters on a finished fine-tune, without training."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.refinement.matching import match_checkpoints as match_checkpoints
    from spectral_opt.refinement.refiner import Refiner as Refiner, refine as refine
    from spectral_opt.refinement.sources import (
        ADAPTER_CONFIG as ADAPTER_CONFIG,
        BaseModel as BaseModel,
        TunedCheckpoint as TunedCheckpoint,
        load_base as load_base,
        open_tuned as open_tuned,
    )
    from spectral_opt.refinement.state import RefinedState as RefinedState
    from spectral_opt.refinement.stream import DeltaStream as DeltaStream

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
