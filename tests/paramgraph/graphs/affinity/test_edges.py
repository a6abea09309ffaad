"""From features to edges: what is accepted as features, unit rows, unions and thresholds."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from paramgraph import NumericalWarning
from paramgraph.graphs.affinity import (
    inner_product,
    neighbour_edges,
    node_features,
    threshold_edges,
    unit_rows,
)


def features(nodes: int = 30, width: int = 8) -> Tensor:
    return torch.randn(nodes, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float32),
        (torch.bool, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_every_real_type_is_accepted(dtype: torch.dtype, becomes: torch.dtype) -> None:
    assert node_features(Data(x=torch.ones(2, 2).to(dtype)), "test").dtype == becomes


def test_missing_features_name_the_source_that_supplies_them() -> None:
    with pytest.raises(
        ValueError, match=r"ring_of_x needs .* table\.to_data\(paramgraph\.weights\(model, table\)\)"
    ):
        node_features(Data(num_nodes=3), "ring_of_x")


def test_broken_rows_are_counted() -> None:
    x = features(5)
    x[1, 2], x[3, 0], x[3, 1] = torch.nan, torch.inf, -torch.inf
    with pytest.raises(ValueError, match="2 of 5 rows"):
        node_features(Data(x=x), "test")


@pytest.mark.parametrize("x", [torch.ones(3), torch.ones(2, 2, 2), torch.ones(2, 2, dtype=torch.complex64)])
def test_features_of_another_shape_or_kind_are_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match="real features of shape"):
        node_features(Data(x=x, num_nodes=x.shape[0]), "test")


def test_features_that_need_a_gradient_come_without_one() -> None:
    x = features().requires_grad_()
    assert not node_features(Data(x=x), "test").requires_grad


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e200])
def test_rows_have_length_one_at_every_scale(scale: float) -> None:
    rows = unit_rows(features().double() * scale)
    np.testing.assert_allclose(rows.norm(dim=1), 1.0, rtol=1e-14)  # two roundings


def test_zero_rows_stay_zero_and_are_counted_once() -> None:
    x = features(4)
    x[[0, 2]] = 0.0
    with pytest.warns(NumericalWarning, match="2 of 4 feature rows are zero") as caught:
        rows = unit_rows(x)
    assert len(caught) == 1
    assert rows[[0, 2]].abs().sum() == 0.0


@pytest.mark.parametrize("value", [0.1, 1e6, -3.7])
def test_constant_row_has_no_correlation(value: float) -> None:
    with pytest.warns(NumericalWarning, match="1 of 1 feature rows are constant"):
        assert unit_rows(torch.full((1, 7), value), centred=True).abs().sum() == 0.0


@pytest.mark.parametrize("width", [0, 1])
def test_too_narrow_features_have_no_correlation(width: int) -> None:
    with pytest.warns(NumericalWarning, match="3 of 3"):
        assert unit_rows(torch.ones(3, width), centred=True).shape == (3, width)


def test_no_nodes_give_no_rows_and_no_warning() -> None:
    assert unit_rows(torch.zeros(0, 4)).shape == (0, 4)


def test_mutual_edges_are_the_common_part_of_the_union() -> None:
    rows = unit_rows(features())
    union = {tuple(pair) for pair in neighbour_edges(rows, 3)[0].T.tolist()}
    mutual = {tuple(pair) for pair in neighbour_edges(rows, 3, mutual=True)[0].T.tolist()}
    assert mutual < union
    degree = np.bincount(np.array(sorted(mutual)).ravel(), minlength=30)
    assert degree.max() <= 3  # nobody is nearest to more than it has chosen itself


def test_each_node_has_at_least_its_k_positive_neighbours_in_the_union() -> None:
    pairs, similarity = neighbour_edges(unit_rows(features().abs()), 4)
    assert np.bincount(pairs.numpy().ravel(), minlength=30).min() >= 4
    assert similarity.min() > 0


def test_orthogonal_rows_have_no_edges_although_rounding_says_otherwise() -> None:
    # (1, 1, 1) and (1, 1, -2) are orthogonal; their float64 inner product after scaling is 1e-17.
    rows = unit_rows(torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0]]))
    assert neighbour_edges(rows, 1, signed=True)[0].shape == (2, 0)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9, 1.0])
def test_threshold_keeps_exactly_the_pairs_that_reach_it(threshold: float, signed: bool) -> None:
    rows = unit_rows(features())
    matrix = (rows @ rows.T).numpy()
    reached = (np.abs(matrix) if signed else matrix) >= threshold
    pairs, similarity = threshold_edges(rows, threshold, signed=signed)
    np.testing.assert_array_equal(pairs.numpy(), np.stack(np.nonzero(np.triu(reached, 1))))
    np.testing.assert_allclose(similarity, matrix[tuple(pairs.numpy())], rtol=0, atol=1e-14)  # rounding


def test_parallel_rows_reach_the_threshold_one() -> None:
    x = features(1, 50)
    pairs, _ = threshold_edges(unit_rows(torch.cat([x, x * 3.0, x * 0.7])), 1.0)
    assert pairs.shape[1] == 3


def test_threshold_edges_of_no_nodes_are_none() -> None:
    assert threshold_edges(torch.zeros(0, 3, dtype=torch.float64), 0.5)[0].shape == (2, 0)


def test_threshold_works_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit_rows(features())
    whole = threshold_edges(rows, 0.2)
    monkeypatch.setattr("paramgraph.graphs.affinity.edges.CHUNK_ELEMENTS", 200)
    chunked = threshold_edges(rows, 0.2)
    assert torch.equal(whole[0], chunked[0])
    assert torch.equal(whole[1], chunked[1])


def edges_of_all_pairs(x: Tensor, k: int, signed: bool, mutual: bool) -> tuple[list[list[int]], Tensor]:
    """Rank, for each node, all others in float64 on the grid, the lower index first among equals."""
    unit = unit_rows(node_features(Data(x=x), "test"))
    cosine = torch.stack([(row * unit).sum(dim=1) for row in unit]).clamp(-1.0, 1.0)
    grid = ((cosine.abs() if signed else cosine) * inner_product.GRID).round()
    grid.fill_diagonal_(-torch.inf)
    near = torch.zeros_like(grid, dtype=torch.bool)
    near.scatter_(1, grid.sort(dim=1, descending=True, stable=True).indices[:, :k], True)
    linked = (near & near.T if mutual else near | near.T) & (grid >= 1.0)
    pairs = linked.triu(diagonal=1).nonzero().T
    return pairs.tolist(), cosine[pairs[0], pairs[1]]


def awkward(kind: str) -> Tensor:
    x = features(450, 12)  # more than two panels of the product of all rows with themselves
    generator = torch.Generator().manual_seed(4)
    if kind == "ties":
        return torch.randint(-1, 2, x.shape, generator=generator).float()
    if kind == "duplicates":
        return x[torch.randint(40, (450,), generator=generator)]
    if kind == "zero rows":
        x[::3] = 0.0
        return x
    if kind == "near ties":
        steps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        return x[torch.arange(450) % 50].double() + 1e-8 * steps
    return x.bfloat16() if kind == "bf16" else x.double()


@pytest.mark.filterwarnings("ignore:.* feature rows are zero:paramgraph.NumericalWarning")
@pytest.mark.parametrize("k", [3, 10])
@pytest.mark.parametrize(("signed", "mutual"), [(False, False), (True, True)])
@pytest.mark.parametrize("kind", ["ties", "duplicates", "zero rows", "near ties", "bf16", "float64"])
def test_edges_and_weights_are_those_of_all_pairs_to_the_last_bit(
    kind: str, signed: bool, mutual: bool, k: int
) -> None:
    x = awkward(kind)
    pairs, similarity = neighbour_edges(
        unit_rows(node_features(Data(x=x), "test")), k, signed=signed, mutual=mutual
    )
    expected, cosine = edges_of_all_pairs(x, k, signed, mutual)
    assert pairs.tolist() == expected
    assert torch.equal(similarity, cosine)
