"""The spectral penalty of the delta, on the graph of gradients of text that is not trained on."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING

METHOD = Method(
    name="spectral_penalty",
    title="spectral penalty",
    description="Decoupled penalty tr(X'LX) on the delta; the graph joins rows with similar gradients.",
    configs=(
        # The symmetric Laplacian has trace = nodes, so this strength equals that of L2-SP in the mean over modes.
        SpectralConfig(
            builder="cosine_knn",
            source="batch_gradients",
            exclude=UNUSED_BY_MEAN_POOLING,
            placement=None,
            penalty=100.0,
            penalty_mode="decoupled",
        ),
    ),
)
