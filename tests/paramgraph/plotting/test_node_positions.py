import networkx as nx
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from paramgraph.plotting import node_positions

ZOO = {
    "no nodes": nx.empty_graph(0),
    "one node": nx.empty_graph(1),
    "one edge": nx.path_graph(2),
    "star": nx.star_graph(6),
    "complete": nx.complete_graph(5),
    "parts": nx.disjoint_union_all([nx.cycle_graph(7), nx.path_graph(2), nx.empty_graph(3)]),
    "no edges": nx.empty_graph(12),
}


@pytest.mark.parametrize("layout", ["spring", "spectral"])
@pytest.mark.parametrize("name", ZOO)
def test_every_graph_has_finite_places_that_repeat(name, layout):
    places = node_positions(ZOO[name], layout, seed=3)
    assert places.shape == (len(ZOO[name]), 2)
    assert np.isfinite(places).all()
    np.testing.assert_array_equal(places, node_positions(ZOO[name], layout, seed=3))


@pytest.mark.parametrize("name", ZOO)
def test_springs_leave_no_two_nodes_at_one_place(name):
    assert pdist(node_positions(ZOO[name])).min(initial=1) > 0.05


def test_spectral_layout_of_a_ring_is_a_circle():
    places = node_positions(nx.cycle_graph(12), "spectral")
    # The two vectors are scaled to their largest entries, which differ by up to 1 / cos(15 degrees).
    radius = np.linalg.norm(places - places.mean(axis=0), axis=1)
    assert np.ptp(radius) / radius.mean() < 0.05


def test_components_do_not_overlap():
    graph = nx.disjoint_union_all([nx.complete_graph(8), nx.cycle_graph(8), nx.path_graph(4)])
    places = node_positions(graph)
    parts = places[:8], places[8:16], places[16:]
    for at, part in enumerate(parts):
        centre, others = part.mean(axis=0), np.concatenate(parts[:at] + parts[at + 1 :])
        assert np.linalg.norm(part - centre, axis=1).mean() < np.linalg.norm(others - centre, axis=1).min()


def test_negative_edges_pull_nothing_together():
    pair = np.array([[0.0, -1.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(node_positions(pair), node_positions(np.zeros((2, 2))))


def test_layouts_of_networkx_are_taken():
    ring = nx.cycle_graph(5)
    np.testing.assert_allclose(
        node_positions(ring, nx.circular_layout), [nx.circular_layout(ring)[node] for node in ring]
    )


def test_global_random_state_stays():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    node_positions(nx.path_graph(6))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize(
    ("layout", "match"),
    [
        ("sprung", "did you mean 'spring'"),
        (lambda network: {0: (0, 0)}, "each of the 3 nodes"),
        (lambda network: dict.fromkeys(network, (0.0, np.nan)), "finite"),
        (lambda network: dict.fromkeys(network, 1.0), "each of the 3 nodes"),
        (lambda network: None, "each of the 3 nodes"),
    ],
    ids=["unknown", "missing", "NaN", "numbers", "nothing"],
)
@pytest.mark.usefixtures("unchecked_types")
def test_layout_that_gives_no_places_raises(layout, match):
    with pytest.raises(ValueError, match=match):
        node_positions(nx.path_graph(3), layout)
