"""The command `spectral-opt`."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.cli.app import main as main

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
