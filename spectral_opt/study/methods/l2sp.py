"""L2-SP (arXiv 1802.01483): decay towards the pretrained weights, no graph."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING

METHOD = Method(
    name="l2sp",
    title="L2-SP",
    description="Decoupled decay towards the pretrained weights: the spectral penalty without a graph.",
    configs=(SpectralConfig.l2sp(100.0, exclude=UNUSED_BY_MEAN_POOLING),),
)
