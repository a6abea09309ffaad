"""L2-SP (arXiv 1802.01483): decay towards the pretrained weights, no graph."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING

METHOD = Method(
    name="l2sp",
    title="L2-SP",
    description="Decoupled decay towards the pretrained weights: the spectral penalty without a graph.",
    configs=(
        SpectralConfig(
            builder=None,
            exclude=UNUSED_BY_MEAN_POOLING,
            placement=None,
            penalty=100.0,
            penalty_mode="decoupled",
            ridge=1.0,
        ),
    ),
)
