"""The paper's graph, rows with similar gradients, of text that is not trained on; and how methods act on it."""

from typing import Any

from paramgraph._checks import known_choice, non_negative
from spectral_opt.config import SpectralConfig
from spectral_opt.study import Options
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING

# The symmetric Laplacian has trace = nodes, so this strength equals that of L2-SP in the mean over modes.
PENALTY: Options = {"strength": 100.0}
FILTER: Options = {"gamma": 1.0, "placement": "gradient"}
GRAPH: Options = {"null": None}


def penalty_fields(options: Options) -> dict[str, Any]:
    """Give the fields of a decoupled penalty tr(X^T L X) on the delta."""
    return {"penalty": non_negative("strength", options["strength"]), "penalty_mode": "decoupled"}


def filter_fields(options: Options) -> dict[str, Any]:
    """Give the fields of a low-pass 1 / (1 + gamma lambda)."""
    placement = options["placement"]
    known_choice("placement", placement, ("gradient", "update", "basis"))
    return {
        "response": "tikhonov",
        "response_options": {"gamma": non_negative("gamma", options["gamma"])},
        "placement": placement,
        "filter_method": "exact",
    }


def graph_fields(options: Options) -> dict[str, Any]:
    """Give the fields of the graph, or of the control of it that the options ask for."""
    return {
        "builder": "cosine_knn",
        "source": "batch_gradients",
        "exclude": UNUSED_BY_MEAN_POOLING,
        "null": options["null"],
    }


def on_gradient_graph(options: Options, **fields: Any) -> tuple[SpectralConfig]:
    """Join fields with the graph. Any: values of all types, which the config checks."""
    return (SpectralConfig(**graph_fields(options), **fields),)
