"""Wheel and sdist are whole: installed into an empty environment, they work outside of the repository."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from pathlib import Path

import pytest
import yaml

import paramgraph

ROOT = Path(__file__).parents[2]
SMOKE = """
import importlib.metadata, pathlib, sys
import networkx, paramgraph, spectral_opt, torch
from paramgraph.display import Section, render_page
from spectral_opt.study import list_presets

place = pathlib.Path(paramgraph.__file__).parent
assert place.is_relative_to(sys.prefix), place
assert all((folder / "py.typed").exists() for folder in (place, place.parent / "spectral_opt"))
assert paramgraph.laplacian(networkx.path_graph(3)).to_scipy().shape == (3, 3)
assert "Energy" in render_page("Energy", "One graph.", [Section("Result")], interactive=True)
assert {"quick", "full"} <= set(list_presets())
assert importlib.metadata.version("paramgraph") == paramgraph.__version__
assert [one.name for one in importlib.metadata.entry_points(group="paramgraph.inputs")] == ["spectral_opt"]
import matplotlib.pyplot
matplotlib.pyplot.style.use("paramgraph.plotting.figures")
spectral_opt.SpectralConfig.preserve()
"""


def run(*command: str | Path, folder: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=kept, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, folder=out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_it_installs_into_an_empty_environment_and_works_outside_of_the_repository(built, kind, tmp_path):
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    # Two gigabytes of dependencies are lent by the environment of the tests; its own copy of the package is no part of
    # that, as a link to the repository is followed in the first folder of packages only.
    purelib = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path
    ).strip()
    Path(purelib, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (package,) = built.glob(kind)
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed")
    run(python, *install, package, folder=tmp_path)
    # The one that comes with a new environment is older than torch asks for; the lent one is not.
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", folder=tmp_path)
    assert "No broken requirements" in run(python, "-m", "pip", "check", folder=tmp_path)
    run(python, "-W", "ignore", "-c", SMOKE, folder=tmp_path)
    for program in ("paramgraph", "spectral-opt"):
        assert "torch" in run(tmp_path / "empty" / "bin" / program, "--version", folder=tmp_path)
    for module in ("paramgraph", "spectral_opt"):
        assert "examples" in run(python, "-m", module, *EXAMPLES[module], "--help", folder=tmp_path)


EXAMPLES = {"paramgraph": ("builders",), "spectral_opt": ("demo",)}


@pytest.mark.slow
def test_the_sdist_has_licence_tests_and_what_they_need(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    needed = (
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "constraints.txt",
        "Makefile",
        "pyproject.toml",
        ".conda/recipe.yaml",
        ".github/CONTRIBUTING.md",
    )
    assert set(needed) <= names
    assert {
        "tests/conftest.py",
        "paramgraph/py.typed",
        "spectral_opt/py.typed",
        "paramgraph/display/page.js",
    } <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("build/", "dist/"))]


# Distributions that conda-forge names otherwise.
CONDA = {"torch": "pytorch", "torch-geometric": "pytorch_geometric", "huggingface-hub": "huggingface_hub"}


def test_the_conda_recipe_asks_for_what_the_package_asks_for():
    recipe = yaml.safe_load((ROOT / ".conda" / "recipe.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = re.compile(r"[\w-]+")
    asked = [
        name.sub(lambda found: CONDA.get(found[0], found[0]) + " ", one, count=1)
        for one in project["dependencies"]
    ]
    assert recipe["requirements"]["run"] == ["python >=${{ python_min }}", *asked]
    assert f">={recipe['context']['python_min']}" == project["requires-python"]
    assert recipe["context"]["version"] == paramgraph.__version__
    programs = [f"{program} = {place}" for program, place in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == programs
    for ours, theirs in (("summary", "description"), ("license", "license")):
        assert recipe["about"][ours] == project[theirs]
