"""Products in place against the same formulas on gathered copies."""

import dataclasses

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

from paramgraph import adjacency, heat, highpass, identity, laplacian, node_tables, prepare_filter, tikhonov
from paramgraph.spectra import KroneckerSum
from spectral_opt import SpectralConfig, attach, penalty_gradient
from spectral_opt.preparation import EntryOperator
from spectral_opt.training import PenaltyForm, filter_, writable_view

from helpers.names import shown

GRAPH = nx.disjoint_union(nx.path_graph(9), nx.empty_graph(1))  # with a node of its own


def signal(nodes=10, width=4, dtype=torch.float64, seed=0):
    return torch.randn(nodes, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        dtype
    )


def dense_filter(operator, response, rank, tail):
    """h of the lowest modes, and the tail's value for all others."""
    values, U = np.linalg.eigh(operator.to_dense())
    if operator.kind == "adjacency":
        values, U = values[::-1].copy(), U[:, ::-1].copy()
    gains = response(torch.from_numpy(values)).numpy()
    gains[rank:] = gains[rank - 1] if tail == "edge" else tail
    return torch.from_numpy(U @ np.diag(gains) @ U.T)


@pytest.mark.parametrize("tail", ["edge", 0, 1])
@pytest.mark.parametrize(
    ("make", "response"),
    [(laplacian, tikhonov(2.0)), (laplacian, highpass(0.3)), (laplacian, heat(1.5)), (adjacency, heat(1.5))],
    ids=shown,
)
def test_a_filter_in_place_is_the_dense_one_and_its_energies_are_the_norms(make, response, tail):
    # No eigenvalue is there twice at the cut: a path and a lone node.
    operator, X = make(nx.path_graph(10)), signal()
    expected = dense_filter(operator, response, 3, tail) @ X
    before = X.square().sum()
    found = filter_(X, prepare_filter(operator, response, "lowrank", rank=3, tail=tail))
    torch.testing.assert_close(X, expected, atol=1e-8, rtol=0)  # the tolerance of the eigensolver
    torch.testing.assert_close(
        torch.stack(found), torch.stack([before, expected.square().sum()]), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("tail", ["edge", 1])
def test_a_filter_with_a_target_adds_the_correction_and_reads_the_signal(tail):
    graph_filter = prepare_filter(laplacian(nx.path_graph(10)), tikhonov(2.0), "lowrank", rank=3, tail=tail)
    X, target = signal(), signal(seed=1)
    copy, expected = X.clone(), target + graph_filter.correction(X)
    filter_(X, graph_filter, target)
    torch.testing.assert_close(target, expected)
    assert torch.equal(X, copy)


def test_what_is_no_product_of_thin_factors_is_left_alone():
    operator = laplacian(nx.path_graph(10))
    scaled = laplacian(nx.path_graph(10), "rw")
    for graph_filter in (
        prepare_filter(operator, tikhonov(1.0), "exact"),
        prepare_filter(operator, tikhonov(1.0), "chebyshev"),
        prepare_filter(operator, tikhonov(1.0), "solve"),
        prepare_filter(scaled, tikhonov(1.0), "lowrank", rank=3),
    ):
        X = signal()
        assert filter_(X, graph_filter) is None
        assert torch.equal(X, signal())


def test_the_identity_changes_no_bit():
    X = signal()
    X[0, 0] = -0.0
    before = X.numpy().tobytes()
    filter_(X, prepare_filter(laplacian(GRAPH), identity(), "lowrank", rank=3))
    assert X.numpy().tobytes() == before


def test_a_value_that_is_not_finite_spreads_over_its_column_and_no_further():
    X = signal()
    X[4, 1] = float("nan")
    filter_(X, prepare_filter(laplacian(nx.path_graph(10)), tikhonov(1.0), "lowrank", rank=3, tail=0))
    assert torch.isnan(X[:, 1]).all()
    assert torch.isfinite(X[:, [0, 2, 3]]).all()


@pytest.mark.parametrize("ridge", [0.0, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("graph", ["sparse", "dense", "signed", "no edges", "none"])
def test_the_form_is_half_the_gradient_of_the_penalty(graph, dtype, ridge):
    made = {
        "sparse": lambda: laplacian(GRAPH),
        "dense": lambda: adjacency(torch.ones(10, 10) - torch.eye(10)),
        "signed": lambda: adjacency(nx.path_graph(10)),
        "no edges": lambda: laplacian(nx.empty_graph(10)),
        "none": lambda: None,
    }
    operator, X, target = made[graph](), signal(dtype=dtype), signal(dtype=dtype, seed=1)
    expected = target + 0.3 * penalty_gradient(X, operator, ridge)
    copy = X.clone()
    assert PenaltyForm(operator, ridge).add_(target, X, 2 * 0.3)
    torch.testing.assert_close(target, expected)  # the same sums, in another order
    assert torch.equal(X, copy)


@pytest.mark.parametrize("across", [False, True], ids=["rows", "columns"])
def test_a_signal_that_is_its_own_target_is_read_before_it_is_written(across):
    X = signal(10, 10).T if across else signal(10, 10)
    expected = X - 0.1 * penalty_gradient(X, laplacian(GRAPH))
    assert PenaltyForm(laplacian(GRAPH), 0.0).add_(X, X, -0.2)
    torch.testing.assert_close(X, expected)


@pytest.mark.parametrize("across", [False, True], ids=["rows", "columns"])
def test_nodes_that_are_columns_are_multiplied_part_by_part(across):
    # 300 features: two parts and a rest. The signal lies as the target does, or not.
    target, X = signal(300, 10).T, signal(300, 10, seed=1).T if across else signal(10, 300, seed=1)
    expected = target + 0.1 * penalty_gradient(X, laplacian(GRAPH), 0.5)
    assert PenaltyForm(laplacian(GRAPH), 0.5).add_(target, X, 0.2)
    torch.testing.assert_close(target, expected)


def test_an_operator_that_is_no_symmetric_matrix_is_left_to_the_caller():
    target = signal()
    edge = laplacian(nx.path_graph(10))
    for operator in (
        laplacian(GRAPH, "rw"),
        EntryOperator(KroneckerSum(edge, laplacian(nx.path_graph(4)))),
        torch.eye(10),
    ):
        assert not PenaltyForm(operator, 0.0).add_(target, signal(seed=1), 1.0)
        assert torch.equal(target, signal())


@pytest.mark.parametrize(
    ("scheme", "is_view"), [("rows", True), ("columns", True), ("blocks", False), ("layers", True)]
)
def test_a_table_is_written_through_where_it_is_a_view_of_one_parameter(scheme, is_view):
    model = nn.Sequential(nn.Linear(32, 64, bias=False))
    parameters = dict(model.named_parameters())
    table = node_tables(model, scheme)
    view = writable_view(next(iter(table.values())), parameters)
    assert (view is not None) == is_view
    if view is not None:
        view.fill_(3.0)
        assert bool((model[0].weight == 3.0).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_not_summed_in_place(dtype):
    model = nn.Sequential(nn.Linear(3, 8)).to(dtype)
    assert writable_view(node_tables(model)["0.weight"], dict(model.named_parameters())) is None


def test_a_subclass_of_tensor_is_left_to_its_own_rules():
    class Special(torch.Tensor):
        pass

    table = node_tables(nn.Sequential(nn.Linear(3, 8)))["0.weight"]
    assert writable_view(table, {"0.weight": torch.zeros(8, 3).as_subclass(Special)}) is None


MODES = {
    "filter": {"penalty": 0.0},
    "filter of the update": {"penalty": 0.0, "placement": "update"},
    "penalty": {"response": None, "ridge": 0.2},
    "decoupled": {"response": None, "ridge": 0.2, "penalty_mode": "decoupled"},
    "weight": {"response": None, "penalty_on": "weight", "penalty_mode": "decoupled"},
    "both": {"ridge": 0.2},
}


@pytest.mark.parametrize("scheme", ["rows", "columns"])
@pytest.mark.parametrize("mode", MODES)
def test_training_in_place_is_training_on_gathered_copies(monkeypatch, scheme, mode):
    fields = {
        "builder": "ring",
        "normalization": None,
        "filter_method": "lowrank",
        "rank": 2,
        "penalty": 0.05,
    }
    config = dataclasses.replace(SpectralConfig(**(fields | MODES[mode])), scheme=scheme)
    found = []
    for in_place in (True, False):
        if not in_place:
            monkeypatch.setattr("spectral_opt.training.bound_table.writable_view", lambda *_: None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 7))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
        handle = attach(model, optimizer, config)
        for step in range(3):
            optimizer.zero_grad()
            model(signal(4, 6, torch.float32, step)).square().mean().backward()
            optimizer.step()
        found.append((model[0].weight.detach(), handle.metrics()))
    (weight, metrics), (expected, reference) = found
    # Float32 sums in another order; Adam divides by the size of a gradient, and so keeps its relative error.
    torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5)
    for name in ("spectral/penalty", "spectral/kept_energy"):
        assert metrics.get(name, 0.0) == pytest.approx(reference.get(name, 0.0), rel=1e-4)


def test_one_copy_of_the_form_is_kept_for_each_dtype():
    form = PenaltyForm(laplacian(GRAPH), 0.5)
    assert form.matrix(torch.ones(1)) is form.matrix(torch.zeros(2))
    assert form.matrix(torch.ones(1, dtype=torch.float64)).dtype == torch.float64
