"""Preserve while training by the product of both graphs of the preserved text."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method, Options
from spectral_opt.study.methods._preserved_text import PRESERVE, preserve


def _configure(options: Options) -> tuple[SpectralConfig]:
    return preserve(options, "product")


METHOD = Method(
    name="preserve_product",
    title="preserve by the product graph",
    description="A pull of the change to zero in the modes in which the preserved text's gradients have energy.",
    configs=_configure(PRESERVE),
    configure=_configure,
    options=PRESERVE,
)
