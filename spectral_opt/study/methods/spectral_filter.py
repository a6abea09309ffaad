"""The paper's gradient filter, with a response as mild as the measured signal-to-noise ratio asks for."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING

METHOD = Method(
    name="spectral_filter",
    title="spectral filter",
    description="Low-pass 1/(1 + lambda) on the gradient before AdamW; the graph joins rows with similar gradients.",
    configs=(
        SpectralConfig.fit(source="batch_gradients", exclude=UNUSED_BY_MEAN_POOLING, filter_method="exact"),
    ),
)
