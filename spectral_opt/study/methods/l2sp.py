"""L2-SP (arXiv 1802.01483): decay towards the pretrained weights, no graph."""

from paramgraph._checks import non_negative
from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method, Options
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING

OPTIONS = {"strength": 100.0}


def _configure(options: Options) -> tuple[SpectralConfig]:
    strength = non_negative("strength", options["strength"])
    return (SpectralConfig.l2sp(strength, exclude=UNUSED_BY_MEAN_POOLING),)


METHOD = Method(
    name="l2sp",
    title="L2-SP",
    description="Decoupled decay towards the pretrained weights: the spectral penalty without a graph.",
    configs=_configure(OPTIONS),
    configure=_configure,
    options=OPTIONS,
    paper="arXiv 1802.01483",
)
