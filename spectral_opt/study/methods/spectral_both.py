"""Penalty and filter on one graph: the paper's method as we read it, and the fourth cell of 2 x 2 with AdamW."""

from spectral_opt.config import SpectralConfig
from spectral_opt.study import Method, Options
from spectral_opt.study.methods._gradient_graph import (
    FILTER,
    GRAPH,
    PENALTY,
    filter_fields,
    on_gradient_graph,
    penalty_fields,
)

OPTIONS: Options = {**PENALTY, **FILTER, **GRAPH}


def _configure(options: Options) -> tuple[SpectralConfig]:
    return on_gradient_graph(options, **penalty_fields(options), **filter_fields(options))


METHOD = Method(
    name="spectral_both",
    title="spectral penalty and filter",
    description="The low-pass on the gradient and the decoupled penalty on the delta, on one graph of gradients.",
    configs=_configure(OPTIONS),
    configure=_configure,
    options=OPTIONS,
    paper="arXiv 2504.19583",
)
