"""The made-up comparison."""

from collections.abc import Callable
from typing import Any

import pytest

from helpers.synthetic_comparison import LLAMA_ROLES, synthetic_comparison


@pytest.fixture(scope="session")
def synthetic() -> Callable[..., dict[str, Any]]:
    """Make a comparison of so many layers, constructions and seeds."""
    return synthetic_comparison


@pytest.fixture(scope="session")
def llama_roles() -> tuple[str, ...]:
    return LLAMA_ROLES


@pytest.fixture
def bare() -> dict[str, Any]:
    """The least that a comparison can hold: one cell, of which next to nothing was measured."""
    cell = {
        "layer": "0.weight",
        "depth": None,
        "role": None,
        "construction": "ring",
        "seed": 0,
        "shift": "laplacian",
    }
    nothing = dict.fromkeys(("energy", "snr", "eigenvalues", "compaction", "z_score", "response", "gain"))
    return {
        "title": "t",
        "setting": {
            "bands": [0, 0.5, 1],
            "share": 0.5,
            "model": "m",
            "signal": "weights",
            "scheme": "rows",
            "batches": {},
        },
        "constructions": [{"name": "ring", "builder": "Ring()", "source": "weights"}],
        "cells": [cell | nothing],
        "agreements": [],
        "summary": [{"construction": "ring", "layers": 1} | nothing],
        "verdict": "v",
        "failures": [],
        "refused": [],
        "drawing": None,
    }
