"""The made-up comparison; tests cannot import each other by name, so its builder is a fixture."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _module() -> ModuleType:
    path = Path(__file__).with_name("synthetic_comparison.py")
    spec = importlib.util.spec_from_file_location("synthetic_comparison", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic() -> Callable[..., dict[str, Any]]:
    """Make a comparison of so many layers, constructions and seeds."""
    return _module().synthetic_comparison


@pytest.fixture(scope="session")
def llama_roles() -> tuple[str, ...]:
    return _module().LLAMA_ROLES


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
