"""Configs that tests of several rooms use."""

from typing import Any

from spectral_opt import SpectralConfig


def preserve_config(gamma: float = 0.1, **changes: Any) -> SpectralConfig:
    """Leave the strong modes of the activations of preserved text alone."""
    asked: dict[str, Any] = {
        "builder": "gram",
        "scheme": "columns",
        "source": "activations",
        "shift": "adjacency",
        "batches": "preserve",
        "response": "tikhonov",
        "response_options": {"gamma": gamma},
        "placement": "update",
        "penalty": 0.0,
    }
    return SpectralConfig(**(asked | changes))
