"""What is no spectrum, no operator or no signal: a sentence says which call makes one."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

import paramgraph

from helpers.type_checks import unchecked

GRAPH = paramgraph.graph_from_networkx(nx.path_graph(6))
OPERATOR = paramgraph.laplacian(GRAPH)
SPECTRUM = paramgraph.eigenpairs(OPERATOR)
X = torch.arange(18.0).reshape(6, 3)
BATCHES = [X, X.flip(0), X.square(), X.sin()]
OF_SPECTRA = {
    "mode_energy": lambda given, X=X: paramgraph.mode_energy(given, X),
    "band_energy": lambda given, X=X: paramgraph.band_energy(given, X),
    "compaction": lambda given, X=X: paramgraph.compaction(given, X),
    "signal_to_noise": lambda given, X=X: paramgraph.signal_to_noise(given, [X] * 4),
    "mode_signal_to_noise": lambda given, X=X: paramgraph.mode_signal_to_noise(given, [X] * 4),
    "project_gradients": lambda given, X=X: paramgraph.project_gradients(given, [X] * 4),
    "measured": lambda given, X=None: paramgraph.measured(given, BATCHES if X is None else [X] * 4),
}
WITHOUT_SIGNAL = {"spectral_gap": paramgraph.spectral_gap, "draw_spectrum": paramgraph.draw_spectrum}
OF_OPERATORS = {
    "eigenpairs": lambda given, X=X: paramgraph.eigenpairs(given),
    "smoothness": lambda given, X=X: paramgraph.smoothness(given, X),
    "apply_filter": lambda given, X=X: paramgraph.apply_filter(given, X, paramgraph.heat(1.0)),
    "apply_filter_bank": lambda given, X=X: paramgraph.apply_filter_bank(given, X, [paramgraph.heat(1.0)]),
    "prepare_filter": lambda given, X=X: paramgraph.prepare_filter(given, paramgraph.heat(1.0)),
}
MATRIX = paramgraph.graph_to_scipy(GRAPH)
GRAPHS = [GRAPH, nx.path_graph(6), MATRIX, MATRIX.toarray(), torch.eye(6), MATRIX.toarray().tolist()]


@pytest.mark.parametrize(
    "function", {**OF_SPECTRA, **WITHOUT_SIGNAL}.values(), ids={**OF_SPECTRA, **WITHOUT_SIGNAL}
)
@pytest.mark.parametrize("given", GRAPHS, ids=lambda given: type(given).__name__)
def test_a_graph_is_no_spectrum(function, given):
    with (
        unchecked(),
        pytest.raises(TypeError, match=r"takes a spectrum, got \w+; call eigenpairs\(laplacian\(graph\)\)"),
    ):
        function(given)


@pytest.mark.parametrize(
    "function", {**OF_SPECTRA, **WITHOUT_SIGNAL}.values(), ids={**OF_SPECTRA, **WITHOUT_SIGNAL}
)
def test_an_operator_is_no_spectrum(function):
    with unchecked(), pytest.raises(TypeError, match=r"got ShiftOperator; call eigenpairs\(operator\) first"):
        function(OPERATOR)


@pytest.mark.parametrize("function", OF_OPERATORS.values(), ids=OF_OPERATORS)
@pytest.mark.parametrize("given", [*GRAPHS, SPECTRUM], ids=lambda given: type(given).__name__)
def test_a_graph_is_no_operator(function, given):
    with (
        unchecked(),
        pytest.raises(TypeError, match=r"takes a shift operator, got \w+; call laplacian\(graph\)"),
    ):
        function(given)


@pytest.mark.parametrize("name", [*OF_SPECTRA, "smoothness", "apply_filter", "apply_filter_bank"])
@pytest.mark.parametrize(
    ("signal", "call"),
    [
        (X.numpy(), r"ndarray; torch\.as_tensor\(X\)"),
        (X.tolist(), r"list; torch\.as_tensor\(X\)"),
        (X.long(), r"X\.float\(\)"),
    ],
    ids=["array", "list", "whole numbers"],
)
def test_a_signal_is_a_floating_tensor(name, signal, call):
    function = {**OF_SPECTRA, **OF_OPERATORS}[name]
    with (
        unchecked(),
        pytest.raises(TypeError, match=f"a signal is a floating torch tensor, got .*{call} makes one"),
    ):
        function(SPECTRUM if name in OF_SPECTRA else OPERATOR, signal)


@pytest.mark.parametrize("name", ["mode_energy", "band_energy", "compaction", "smoothness"])
def test_a_parameter_is_a_signal(name):
    function = {**OF_SPECTRA, **OF_OPERATORS}[name]
    given = SPECTRUM if name in OF_SPECTRA else OPERATOR
    expected, found = function(given, X), function(given, nn.Parameter(X))
    assert np.allclose(found, expected)
    assert not getattr(found, "requires_grad", False)


def test_a_table_scatters_tensors_only():
    table = paramgraph.rows(nn.Linear(3, 6))["weight"]
    with unchecked(), pytest.raises(TypeError, match="X must be a torch tensor, got ndarray"):
        table.scatter(X.numpy())
