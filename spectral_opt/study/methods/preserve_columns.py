"""Preserve while training by the columns' graph of the preserved text: no gradient of it is needed."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method, Options
from spectral_opt.study.methods._preserved_text import PRESERVE, preserve


def _configure(options: Options) -> tuple[SpectralConfig]:
    return preserve(options, "columns")


METHOD = Method(
    name="preserve_columns",
    title="preserve by columns",
    description="A pull of the change to zero in the directions in which inputs of the preserved text are strong.",
    configs=_configure(PRESERVE),
    configure=_configure,
    options=PRESERVE,
)
