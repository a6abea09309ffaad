"""Config: what is asked of a fine-tuning, validated and written as JSON."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.config._refresh_schedule import (
        DRIFT_BATCHES as DRIFT_BATCHES,
        DRIFT_EVERY as DRIFT_EVERY,
        check_refresh as check_refresh,
        refresh_schedule as refresh_schedule,
    )
    from spectral_opt.config.config import SpectralConfig as SpectralConfig

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
