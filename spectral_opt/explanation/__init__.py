"""Explanation: what will be touched, why, and what it costs."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.explanation.explanation import (
        Explanation as Explanation,
        explain as explain,
        explain_prepared as explain_prepared,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
