"""What CONTRIBUTING.md shows is one file or one value, and works as it stands there."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import networkx as nx
import pytest
import torch
from torch_geometric.data import Data

import paramgraph
from paramgraph.filters import responses
from paramgraph.graphs import registry
from paramgraph.sources import SOURCES, source
from spectral_opt import SpectralConfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
BUILDER, SOURCE, RESPONSE, SOLVER, METHOD = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


SCRIPT = """
import networkx, paramgraph as p
from spectral_opt.study import get_method
L = p.adjacency(networkx.path_graph(3))
print(p.eigenpairs(L, k=2, solver='numpy_dense').eigenvalues.tolist())
print(get_method('gram_filter').permuted_null().title)
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Add a solver and a method, one file each, to a copy of the packages, and tell what a process finds of them."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("paramgraph", "spectral_opt"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "paramgraph/spectra/solvers/numpy_dense.py").write_text(SOLVER, encoding="utf-8")
    (folder / "spectral_opt/study/methods/gram_filter.py").write_text(METHOD, encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    solver, method = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env={"PYTHONPATH": str(folder)}
    ).stdout.splitlines()
    return solver, method


@pytest.mark.parametrize("package", ["paramgraph", "spectral_opt"])
def test_the_picture_of_the_house_shows_the_rooms_in_their_order(package: str) -> None:
    (layers,) = (
        one["layers"] for one in SETTINGS["importlinter"]["contracts"] if one.get("containers") == [package]
    )
    picture = PAGE.split(f"    {package}\n", 1)[1].split("\n\n", 1)[0]
    shown = [name for line in picture.splitlines() for name in re.findall(r"\w+", line[8:46])]
    named = [name for layer in layers for name in re.findall(r"\w+", layer)]
    assert shown == [name for name in named if name != "__main__"]  # which has nothing in it but the command


def test_a_builder_is_one_file_and_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    paramgraph.list_builders()  # registers all that there are, once in a process
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    exec(BUILDER, {"__name__": "contributing"})
    graph = paramgraph.get_builder("path")(Data(num_nodes=4))
    assert graph.edge_index.tolist() == [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]
    wide = paramgraph.get_builder("path")(Data(x=torch.ones(2, 1, dtype=torch.float64)))
    assert wide.edge_weight.dtype == torch.float64


def test_a_source_is_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    signs = eval(SOURCE, vars(source))
    monkeypatch.setitem(SOURCES, signs.name, signs)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8))
    graph = paramgraph.build(model, paramgraph.rows(model)["0.weight"], "cosine_knn", source="signs", k=3)
    assert torch.equal(graph.x, model[0].weight.detach().sign())
    assert SpectralConfig(source="signs").source == "signs"


def test_a_response_is_one_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = dict(vars(responses))
    exec(RESPONSE, namespace)
    monkeypatch.setitem(responses.RESPONSES, "squared_tikhonov", namespace["squared_tikhonov"])
    made = paramgraph.get_response("squared_tikhonov", gamma=3.0)
    assert made(torch.tensor([0.0, 1.0])).tolist() == [1.0, 0.25]
    assert (
        SpectralConfig(response="squared_tikhonov", response_options={"gamma": 3.0}).response
        == "squared_tikhonov"
    )


def test_a_solver_is_one_file(shown: tuple[str, str]) -> None:
    expected = paramgraph.eigenpairs(paramgraph.adjacency(nx.path_graph(3)), k=2).eigenvalues
    assert eval(shown[0]) == pytest.approx(expected.tolist())


def test_a_method_is_one_file(shown: tuple[str, str]) -> None:
    assert shown[1] == "Gram filter, nodes permuted"
