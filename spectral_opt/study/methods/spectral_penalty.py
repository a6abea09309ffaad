"""The spectral penalty of the delta, on the graph of gradients of text that is not trained on."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method, Options
from spectral_opt.study.methods._gradient_graph import GRAPH, PENALTY, on_gradient_graph, penalty_fields

OPTIONS: Options = {**PENALTY, **GRAPH}


def _configure(options: Options) -> tuple[SpectralConfig]:
    return on_gradient_graph(options, **penalty_fields(options), placement=None)


METHOD = Method(
    name="spectral_penalty",
    title="spectral penalty",
    description="Decoupled penalty tr(X'LX) on the delta; the graph joins rows with similar gradients.",
    configs=_configure(OPTIONS),
    configure=_configure,
    options=OPTIONS,
    paper="arXiv 2504.19583",
)
