import importlib

import pytest


@pytest.mark.parametrize("package", ["spectral_opt", "spectral_opt.tasks"])
def test_star_import_brings_the_public_names_and_nothing_else(package):
    namespace = {}
    exec(f"from {package} import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(dir(importlib.import_module(package)))
