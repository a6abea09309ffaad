import importlib.util

import networkx as nx
import numpy as np
import pytest

from paramgraph import adjacency, eigenpairs, laplacian
from paramgraph.spectra import EigenProblem
from paramgraph.spectra.solvers import lobpcg, lobpcg_amg


def grid(side: int) -> nx.Graph:
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side))


def test_grid_takes_a_fraction_of_the_steps_of_jacobi():
    operator = laplacian(grid(20), None)
    task = EigenProblem(operator.matrix, 4, True, operator.interval, operator.null_space()[:, 0], 1e-6)
    assert lobpcg_amg.solve(task).iterations < lobpcg.solve(task).iterations / 2


def test_spectrum_of_a_grid_is_the_closed_form():
    side = 18
    one = 2 - 2 * np.cos(np.pi * np.arange(side) / side)
    expected = np.sort((one[:, None] + one).ravel())[:6]
    spectrum = eigenpairs(laplacian(grid(side), None), k=6, solver="lobpcg_amg")
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, atol=1e-12)  # squared residual of 1e-7
    assert spectrum.solver == "lobpcg_amg"


def test_largest_pairs_of_an_adjacency_are_found_too():
    operator = adjacency(grid(18))
    spectrum = eigenpairs(operator, k=6, solver="lobpcg_amg")
    expected = np.linalg.eigvalsh(operator.to_dense())[::-1][:6]
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, atol=1e-12)


def test_missing_pyamg_refuses_with_the_line_to_install_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyamg" else find(name))
    operator = laplacian(grid(18))
    task = EigenProblem(operator.matrix, 4, True, operator.interval)
    assert "pip install 'paramgraph[amg]'" in lobpcg_amg.refusal(task)
    spectrum = eigenpairs(operator, k=4, solver="lobpcg_amg")
    assert spectrum.solver == "dense"
    assert "paramgraph[amg]" in spectrum.reason


def test_missing_pyamg_is_an_import_error_with_the_line_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyamg", None)
    operator = laplacian(grid(5))
    with pytest.raises(ImportError, match=r"paramgraph\[amg\]"):
        lobpcg_amg.solve(EigenProblem(operator.matrix, 2, True, operator.interval))


def test_lower_end_below_zero_is_found():
    operator = adjacency(grid(18))
    found = lobpcg_amg.solve(EigenProblem(operator.matrix, 3, True, operator.interval))
    expected = np.linalg.eigvalsh(operator.to_dense())[:3]
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-8)
