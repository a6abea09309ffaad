import tracemalloc

import networkx as nx
import numpy as np
import pytest

from paramgraph import PerformanceWarning, adjacency, eigenpairs, laplacian
from paramgraph.spectra import EigenProblem, _solver_choice as solver_choice, choose_solvers


def chosen(graph: nx.Graph, count: int = 16, kind: str = "laplacian") -> tuple[list[str], str]:
    operator = laplacian(graph) if kind == "laplacian" else adjacency(graph)
    null = operator.null_space()[:, 0] if kind == "laplacian" else None
    return choose_solvers(EigenProblem(operator.matrix, count, kind == "laplacian", operator.interval, null))


def grid(side: int) -> nx.Graph:
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side))


LONG = {
    "ring": nx.cycle_graph(4096),
    "path": nx.path_graph(3000),
    "grid": grid(64),
    "tree": nx.random_labeled_tree(3000, seed=0),
}


@pytest.mark.parametrize("kind", ["laplacian", "adjacency"])
@pytest.mark.parametrize("name", LONG)
def test_long_graphs_go_to_shift_invert(name, kind):
    chain, reason = chosen(LONG[name], kind=kind)
    assert chain == ["shift_invert", "arpack", "lobpcg_amg", "lobpcg", "dense"]
    assert "levels" in reason


@pytest.mark.parametrize("kind", ["laplacian", "adjacency"])
def test_expanders_go_to_lanczos(kind):
    chain, reason = chosen(nx.random_regular_graph(10, 2000, seed=0), kind=kind)
    assert chain[0] == "arpack"
    assert "estimated fill-in" in reason


def test_small_graphs_and_many_pairs_are_dense():
    assert chosen(nx.cycle_graph(300))[0] == ["dense"]
    assert chosen(nx.cycle_graph(1000), 200)[0] == ["dense"]


def test_dense_matrices_are_never_factorized_sparsely():
    matrix = np.ones((500, 500))
    chain, _ = choose_solvers(EigenProblem(matrix, 4, False, (0.0, 500.0)))
    assert chain == ["arpack", "lobpcg", "dense"]


def test_factors_that_do_not_fit_are_not_tried(monkeypatch):
    monkeypatch.setattr(solver_choice, "FACTOR_ENTRIES", 100)
    assert chosen(nx.cycle_graph(1000))[0] == ["arpack", "lobpcg_amg", "lobpcg", "dense"]


def test_missing_multigrid_is_left_out_of_the_chain(monkeypatch):
    find = solver_choice.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pyamg" else find(name))
    assert "lobpcg_amg" not in chosen(nx.cycle_graph(1000))[0]


def test_dense_pairs_of_a_large_graph_warn(monkeypatch):
    monkeypatch.setattr("paramgraph.spectra.eigensolve.SLOW_DENSE_NODES", 50)
    operator = laplacian(nx.cycle_graph(60))
    with pytest.warns(PerformanceWarning, match="grows with the cube"):
        eigenpairs(operator, k=20)


def test_all_pairs_and_asked_for_dense_do_not_warn(monkeypatch):
    monkeypatch.setattr("paramgraph.spectra.eigensolve.SLOW_DENSE_NODES", 50)
    operator = laplacian(nx.cycle_graph(60))
    eigenpairs(operator)  # a warning is an error here
    eigenpairs(operator, k=20, solver="dense")


@pytest.mark.parametrize(
    "graph", [nx.cycle_graph(6000), nx.random_regular_graph(4, 6000, seed=0)], ids=["ring", "expander"]
)
def test_memory_grows_with_edges_and_pairs_only(graph):
    operator = laplacian(graph)
    k = 6
    tracemalloc.start()
    eigenpairs(operator, k=k, tol=1e-4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # ARPACK's basis has max(2 k + 1, 20) columns, the check 16, Rayleigh-Ritz a few times k; a dense matrix
    # would take 288 MB.
    columns = 20 + 16 + 8 * k
    assert peak < 8 * (6 * operator.matrix.nnz + 2 * columns * operator.nodes)
