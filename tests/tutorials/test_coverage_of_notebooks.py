"""Between them the notebooks use each thing of a kind that users choose from: a new one without a notebook fails."""

import ast
import inspect
from typing import get_args, get_type_hints

import build_notebooks
import pytest

import paramgraph
from paramgraph.graphs import find_builder


def words(source: str) -> set[str]:
    """Collect the strings of a source, by which options are used, and what it takes from the package by name."""
    nodes = list(ast.walk(ast.parse(source)))
    found = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    return found | {
        one.attr for one in attributes if isinstance(one.value, ast.Name) and one.value.id == "paramgraph"
    }


@pytest.fixture(scope="module")
def used() -> set[str]:
    return set().union(*(words(path.read_text(encoding="utf-8")) for path in build_notebooks.sources()))


def builders_of_the_package() -> list[str]:
    # Tests in the same process may have registered others.
    names = paramgraph.list_builders()
    return [name for name in names if find_builder(name).__module__.startswith("paramgraph.builders")]


def allowed(annotated: object, name: str) -> list[str]:
    return [value for value in get_args(get_type_hints(annotated)[name]) if value != "auto"]


@pytest.mark.parametrize("name", builders_of_the_package())
def test_each_builder_is_in_a_notebook(used: set[str], name: str) -> None:
    assert {name, find_builder(name).__name__} & used


@pytest.mark.parametrize("estimator", allowed(paramgraph.Correlation, "estimator"))
def test_each_estimator_of_correlations_is_in_a_notebook(used: set[str], estimator: str) -> None:
    assert estimator in used


@pytest.mark.parametrize("scheme", paramgraph.list_schemes())
def test_each_scheme_is_in_a_notebook(used: set[str], scheme: str) -> None:
    assert scheme in used


@pytest.mark.parametrize("solver", paramgraph.list_solvers())
def test_each_solver_is_in_a_notebook(used: set[str], solver: str) -> None:
    assert solver in used


@pytest.mark.parametrize("method", allowed(inspect.unwrap(paramgraph.apply_filter), "method"))
def test_each_method_of_filtering_is_in_a_notebook(used: set[str], method: str) -> None:
    assert method in used


@pytest.mark.parametrize("name", ["contrast", "wavelets", "GraphCache", "compare"])
def test_each_further_tool_is_in_a_notebook(used: set[str], name: str) -> None:
    assert name in used


def test_what_stands_in_prose_alone_is_not_used() -> None:
    assert words("# cosine_knn\nx = paramgraph.Ring(np.random, k='arpack')") == {"Ring", "arpack"}
