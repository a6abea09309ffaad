"""Pearson correlation, by rank and by threshold."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import Correlation, CosineKNN, NotConvergedError, NumericalWarning, graph_to_scipy


def some_nodes() -> Data:
    return Data(x=torch.randn(15, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(5)))


def test_correlation_is_the_cosine_of_centred_rows() -> None:
    data = some_nodes()
    centred = Data(x=data.x - data.x.mean(dim=1, keepdim=True))
    left, right = Correlation(k=4)(data), CosineKNN(k=4)(centred)
    assert torch.equal(left.edge_index, right.edge_index)
    torch.testing.assert_close(left.edge_weight, right.edge_weight)


def test_shift_and_scale_of_a_row_change_nothing() -> None:
    data = some_nodes()
    moved = Data(x=data.x * 4.0 + torch.arange(15.0, dtype=torch.float64)[:, None])
    left, right = Correlation(threshold=0.2)(data), Correlation(threshold=0.2)(moved)
    assert torch.equal(left.edge_index, right.edge_index)
    torch.testing.assert_close(left.edge_weight, right.edge_weight)


@pytest.mark.parametrize("signed", [False, True])
def test_threshold_keeps_the_correlations_that_reach_it(signed: bool) -> None:
    data = some_nodes()
    expected = np.corrcoef(data.x.numpy())
    np.fill_diagonal(expected, 0.0)
    expected[(np.abs(expected) if signed else expected) < 0.25] = 0.0
    found = graph_to_scipy(Correlation(threshold=0.25, signed=signed)(data)).toarray()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)  # rounding of a sum of 9


def test_threshold_may_leave_no_edges() -> None:
    assert Correlation(threshold=1.0)(some_nodes()).num_edges == 0


def test_threshold_does_not_ask_for_k_neighbours() -> None:
    few = Data(x=some_nodes().x[:3])
    Correlation(threshold=0.1)(few)
    with pytest.raises(ValueError, match="k=10 neighbours asked of a graph of 3 nodes"):
        Correlation()(few)


def test_constant_row_has_no_edges_and_one_warning() -> None:
    data = some_nodes()
    data.x[4] = 0.1
    with pytest.warns(NumericalWarning, match="1 of 15 feature rows are constant"):
        graph = Correlation(k=3)(data)
    assert 4 not in graph.edge_index


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_threshold_outside_zero_to_one_is_refused_at_once(threshold: float) -> None:
    with pytest.raises(ValueError, match="correlation: threshold must be a number from 0 to 1"):
        Correlation(threshold=threshold)


@pytest.mark.parametrize("estimator", ["ledoit_wolf", "partial"])
@pytest.mark.parametrize("options", [{"k": 3}, {"threshold": 0.05}])
def test_other_estimates_are_linked_by_rank_and_threshold_alike(estimator: str, options: dict) -> None:
    every = graph_to_scipy(
        Correlation(threshold=0.0, signed=True, estimator=estimator)(some_nodes())
    ).toarray()
    found = graph_to_scipy(Correlation(**options, signed=True, estimator=estimator)(some_nodes())).toarray()
    size = np.abs(every)
    if "threshold" in options:
        expected = size >= 0.05
    else:
        rank = np.argsort(-size, axis=1, kind="stable")[:, :3]
        chosen = np.zeros_like(size, dtype=bool)
        np.put_along_axis(chosen, rank, True, axis=1)
        expected = (chosen | chosen.T) & (size > 0)
    np.testing.assert_allclose(found, np.where(expected, every, 0.0), rtol=0, atol=1e-15)


@pytest.mark.parametrize("estimator", ["ledoit_wolf", "partial"])
def test_constant_row_has_no_edges_whatever_the_estimator(estimator: str) -> None:
    data = some_nodes()
    data.x[4] = 0.1
    with pytest.warns(NumericalWarning, match="1 of 15 feature rows are constant") as caught:
        graph = Correlation(threshold=0.0, estimator=estimator)(data)
    assert len(caught) == 1
    assert 4 not in graph.edge_index


def test_too_many_nodes_for_partial_correlations_name_the_option() -> None:
    data = Data(x=torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match=r"partial correlations of 30 nodes .* max_nodes=30"):
        Correlation(k=2, estimator="partial", max_nodes=20)(data)
    with pytest.raises(ValueError, match=r"of 601 nodes .* up to 600"):
        Correlation(estimator="partial").check_nodes(601)
    Correlation(estimator="sample").check_nodes(601)


def test_graphical_lasso_that_does_not_converge_is_an_error() -> None:
    data = Data(x=torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(NotConvergedError, match=r"graphical lasso of 20 nodes .* raise alpha"):
        Correlation(k=2, estimator="partial", alpha=1e-9)(data)


def test_penalty_above_every_correlation_leaves_no_edges() -> None:
    assert Correlation(k=3, estimator="partial", alpha=1.0)(some_nodes()).num_edges == 0


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("options", [{"estimator": "oas"}, {"alpha": 0.0}, {"alpha": 2.0}, {"max_nodes": 0}])
def test_options_outside_their_range_are_refused_at_once(options: dict) -> None:
    with pytest.raises(ValueError, match="correlation: "):
        Correlation(**options)


@pytest.mark.parametrize("estimator", ["sample", "ledoit_wolf", "partial"])
def test_mutual_neighbours_are_those_that_choose_each_other(estimator: str) -> None:
    options = {"signed": True, "estimator": estimator, "alpha": 0.01}
    size = np.abs(graph_to_scipy(Correlation(threshold=0.0, **options)(some_nodes())).toarray())
    chosen = np.zeros_like(size, dtype=bool)
    np.put_along_axis(chosen, np.argsort(-size, axis=1, kind="stable")[:, :3], True, axis=1)
    found = graph_to_scipy(Correlation(k=3, mutual=True, **options)(some_nodes())).toarray()
    np.testing.assert_array_equal(found != 0, chosen & chosen.T & (size > 0))


def test_a_threshold_is_a_number_of_python_or_numpy_and_no_bool():
    assert Correlation(threshold=np.float32(0.5)).threshold == 0.5
    with pytest.raises(ValueError, match="threshold must be a number from 0 to 1, or None, got True"):
        Correlation(threshold=True)
