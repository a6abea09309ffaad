import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import NumericalWarning, clustering_agreement

BLOCKS = nx.planted_partition_graph(3, 12, 0.8, 0.05, seed=1)
LABELS = [node // 12 for node in BLOCKS]


def test_planted_blocks_are_found():
    found = clustering_agreement(BLOCKS, LABELS)
    assert found.adjusted_rand == found.adjusted_mutual_information == 1.0


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor(LABELS),
        torch.tensor(LABELS, dtype=torch.bfloat16),
        np.array(LABELS),
        tuple("abc"[label] for label in LABELS),
        [-1, 4, 7] * 0 + LABELS,
    ],
    ids=["tensor", "bfloat16", "array", "names", "list"],
)
def test_labels_may_be_of_any_type(labels):
    assert clustering_agreement(BLOCKS, labels).adjusted_rand == 1.0


def test_labels_that_are_neither_numbers_nor_text_are_refused():
    with pytest.raises(TypeError, match="labels are numbers or text, one for each node"):
        clustering_agreement(BLOCKS, [None if label == 0 else label for label in LABELS])


def test_components_are_clusters():
    graph = nx.disjoint_union_all([nx.path_graph(7), nx.cycle_graph(4), nx.empty_graph(1)])
    found = clustering_agreement(graph, [0] * 7 + [1] * 4 + [2])
    assert found.adjusted_rand == 1.0


def test_two_graphs_of_the_same_blocks_agree_whatever_their_edges():
    other = nx.planted_partition_graph(3, 12, 0.7, 0.05, seed=9)
    found = clustering_agreement(BLOCKS, other, clusters=3)
    assert found.adjusted_rand == 1.0
    assert found.first.shape == found.second.shape == (36,)


def test_labels_of_no_relation_agree_as_chance_does():
    numbers = np.random.default_rng(0)
    scores = [clustering_agreement(BLOCKS, numbers.permutation(LABELS)).adjusted_rand for _ in range(12)]
    # Of 36 nodes in 3 blocks the standard deviation is about .035, of the mean of twelve .01.
    assert np.mean(scores) == pytest.approx(0, abs=0.03)


def test_agreement_does_not_depend_on_the_scale_of_weights_and_repeats():
    matrix = nx.to_numpy_array(nx.karate_club_graph(), weight=None)
    first, again = clustering_agreement(matrix, 5 * matrix, 4), clustering_agreement(matrix, 5 * matrix, 4)
    np.testing.assert_array_equal(first.first, again.first)
    assert first.adjusted_rand == 1.0


def test_global_random_state_stays():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    clustering_agreement(BLOCKS, LABELS)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_fewer_clusters_than_components_warn():
    with pytest.warns(NumericalWarning, match="3 components is cut into 2"):
        clustering_agreement(nx.disjoint_union_all([nx.complete_graph(3)] * 3), [0] * 3 + [1] * 6)


@pytest.mark.parametrize(
    ("second", "clusters", "match"),
    [
        (BLOCKS, None, "number of clusters"),
        (LABELS[:-1], None, "36 and 35"),
        (nx.path_graph(5), 3, "36 and 5"),
        ([0] * 36, None, "2 to 36"),
        (LABELS, 1, "2 to 36"),
        (LABELS, 37, "2 to 36"),
    ],
    ids=["no number", "labels", "nodes", "one label", "one cluster", "many clusters"],
)
def test_what_cannot_be_compared_raises(second, clusters, match):
    with pytest.raises(ValueError, match=match):
        clustering_agreement(BLOCKS, second, clusters)


@pytest.mark.parametrize("nodes", [0, 1])
def test_too_few_nodes_raise(nodes):
    with pytest.raises(ValueError, match="clusters"):
        clustering_agreement(nx.empty_graph(nodes), nx.empty_graph(nodes), 2)


def test_a_loosely_tied_node_is_no_cluster():
    # Of D - W the lowest mode after the constant is the pendant's; the normalized one cuts between the blocks.
    graph = nx.disjoint_union(nx.complete_graph(8), nx.complete_graph(8))
    graph.add_edges_from([(0, 8), (1, 9)])
    graph.add_edge(2, 16, weight=0.1)
    assert clustering_agreement(graph, [0] * 8 + [1] * 8 + [0]).adjusted_rand == 1.0
