"""The paper's gradient filter, with a response as mild as the measured signal-to-noise ratio asks for."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method, Options
from spectral_opt.study.methods._gradient_graph import FILTER, GRAPH, filter_fields, on_gradient_graph

OPTIONS: Options = {**FILTER, **GRAPH}


def _configure(options: Options) -> tuple[SpectralConfig]:
    return on_gradient_graph(options, **filter_fields(options), penalty=0.0)


METHOD = Method(
    name="spectral_filter",
    title="spectral filter",
    description="Low-pass 1/(1 + lambda) on the gradient before AdamW; the graph joins rows with similar gradients.",
    configs=_configure(OPTIONS),
    configure=_configure,
    options=OPTIONS,
    paper="arXiv 2504.19583",
)
