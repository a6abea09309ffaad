"""Integrations: the callback of transformers' Trainer."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.integrations.transformers_callback import SpectralCallback as SpectralCallback

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
