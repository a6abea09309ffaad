import importlib
import pkgutil
import subprocess
import sys

import pytest

from helpers.freeze_public_api import RECORD, public_api

PACKAGES = ("paramgraph", "spectral_opt")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_also_a_submodule(package):
    module = importlib.import_module(package)
    submodules = {info.name for info in pkgutil.iter_modules(module.__path__)}
    assert not submodules & set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_can_be_imported(package):
    module = importlib.import_module(package)
    assert all(getattr(module, name) is not None for name in dir(module))


def test_star_import_brings_the_public_names_and_nothing_else():
    namespace = {}
    exec("from paramgraph import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(dir(importlib.import_module("paramgraph")))


def test_an_unknown_name_is_an_attribute_error():
    import paramgraph

    with pytest.raises(AttributeError, match="no attribute 'eigenpair'"):
        _ = paramgraph.eigenpair


def test_public_names_and_signatures_are_as_frozen():
    """A deliberate change: run `make api`, and record it in CHANGELOG.md in the same commit."""
    assert list(public_api()) == RECORD.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_no_heavy_library(package):
    heavy = (
        "torch",
        "scipy",
        "sklearn",
        "networkx",
        "transformers",
        "torch_geometric",
        "pandas",
        "matplotlib",
    )
    script = f"import {package}, sys; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
