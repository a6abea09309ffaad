"""Config: what is asked of a fine-tuning, as one frozen value that is validated and goes to JSON and back.

Everything downstream reads a `SpectralConfig`: `preparation` builds what it names, `training` does what it says.

The value: `SpectralConfig`.
The field `refresh`, read: `refresh_schedule`, and how drift is measured, `DRIFT_EVERY` and `DRIFT_BATCHES`.
Of two that are written down: `is_same_address`. YAML as plain values: `read_yaml`,
`yaml_text`. Inside: `check_refresh`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.config._callables import is_same_address as is_same_address
    from spectral_opt.config._fields import (
        DRIFT_BATCHES as DRIFT_BATCHES,
        DRIFT_EVERY as DRIFT_EVERY,
        check_refresh as check_refresh,
        refresh_schedule as refresh_schedule,
    )
    from spectral_opt.config.config import SpectralConfig as SpectralConfig
    from spectral_opt.config.plain_yaml import read_yaml as read_yaml, yaml_text as yaml_text

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
