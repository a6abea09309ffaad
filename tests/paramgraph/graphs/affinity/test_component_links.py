"""Links between components: SciPy's spanning tree of all pairs as the judge."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from paramgraph.graphs.affinity import cosine_outside, distance_outside, joining_pairs

NO_EDGES = torch.zeros((2, 0), dtype=torch.int64)


def unit(nodes: int, seed: int) -> torch.Tensor:
    rows = torch.rand(nodes, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


@given(nodes=st.integers(1, 25), edges=st.integers(0, 20), seed=st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_links_weigh_what_the_spanning_tree_of_all_components_weighs(
    nodes: int, edges: int, seed: int
) -> None:
    rows = unit(nodes, seed)
    pairs = torch.randint(0, nodes, (2, edges), generator=torch.Generator().manual_seed(seed))
    added = joining_pairs(pairs, nodes, cosine_outside(rows))
    matrix = sp.coo_array((np.ones(edges), tuple(pairs.numpy())), shape=(nodes, nodes))
    count, labels = sp.csgraph.connected_components(matrix, directed=False)
    cost = 2.0 - (rows @ rows.T).numpy()
    between = np.zeros((count, count))
    for i in range(count):
        for j in range(i):
            between[i, j] = cost[np.ix_(labels == i, labels == j)].min()
    expected = sp.csgraph.minimum_spanning_tree(sp.csr_array(between)).sum()
    assert added.shape[1] == count - 1
    # 1e-9: similarities within 1.5e-11 are ties.
    np.testing.assert_allclose(cost[tuple(added.numpy())].sum(), expected, rtol=0, atol=1e-9)
    assert (added[0] < added[1]).all()


@pytest.mark.parametrize("rows", [torch.ones(12, 1), torch.ones(12, 3) / 3**0.5], ids=["one", "three"])
def test_equal_similarities_close_no_ring(rows: torch.Tensor) -> None:
    assert joining_pairs(NO_EDGES, 12, cosine_outside(rows.double())).shape == (2, 11)


def test_points_on_a_line_are_joined_in_order() -> None:
    rows = torch.tensor([[0.0], [0.5], [0.1], [1.0], [0.7]], dtype=torch.float64)
    added = joining_pairs(NO_EDGES, 5, distance_outside(rows))
    assert added.T.tolist() == [[0, 2], [1, 2], [1, 4], [3, 4]]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = joining_pairs(NO_EDGES, 20, cosine_outside(unit(20, 1)))
    monkeypatch.setattr("paramgraph.graphs.affinity.component_links.CHUNK_ELEMENTS", 100)
    assert torch.equal(joining_pairs(NO_EDGES, 20, cosine_outside(unit(20, 1))), whole)


def test_no_nodes_need_no_links() -> None:
    assert joining_pairs(NO_EDGES, 0, cosine_outside(torch.zeros(0, 2, dtype=torch.float64))).shape == (2, 0)
