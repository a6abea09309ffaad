import dataclasses

import pytest
import torch

from paramgraph import eigenpairs, laplacian
from paramgraph.comparison import MeasurementOptions, Signal, measure_construction, plain

OPTIONS = MeasurementOptions()


def signal(nodes, width=3):
    source = torch.Generator().manual_seed(0)
    return Signal(torch.randn(nodes, width, generator=source, dtype=torch.float64))


def of_gradients(nodes, batches=5):
    drawn = 0.5 + torch.randn(batches, nodes, 3, generator=torch.Generator().manual_seed(1))
    return Signal(drawn.double().mean(dim=0), list(drawn))


def cell(graph, found, seed=0, **more):
    return measure_construction(graph, found, dataclasses.replace(OPTIONS, **more), seed).cell


def test_facts_of_a_star_are_known(graphs):
    found = cell(graphs["star"], signal(7))
    assert (found["nodes"], found["edges"], found["components"], found["isolated"]) == (7, 6, 1, 0)
    assert (found["degree_min"], found["degree_median"], found["degree_max"]) == (1.0, 1.0, 6.0)
    assert found["degree_mean"] == pytest.approx(12 / 7)
    # Normalized Laplacian of a star: 0, 1 five times, 2.
    assert found["spectral_gap"] == pytest.approx(1.0)
    assert found["eigenvalues"][-1] == pytest.approx(2.0)
    assert found["compaction_random"] is None  # degrees leave no choice


def test_energy_of_one_mode_lies_in_its_band_alone(graphs):
    mode = eigenpairs(laplacian(graphs["weighted_random"])).eigenvectors[:, 9:10]  # of 20: the third fifth
    found = cell(graphs["weighted_random"], Signal(mode))
    assert found["energy"] == pytest.approx([0, 0, 1, 0, 0], abs=1e-12)  # rounding
    assert found["compaction"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_of_the_signal_changes_nothing(graphs, scale):
    first = cell(graphs["grid"], of_gradients(12))
    scaled = of_gradients(12)
    other = cell(graphs["grid"], Signal(scale * scaled.X, [scale * one for one in scaled.gradients]))
    for name in ("compaction", "z_score", "snr", "lift_low", "gain", "energy", "compaction_random"):
        assert other[name] == pytest.approx(first[name], rel=1e-5), name  # gradients are float32


def test_isolated_nodes_and_components_are_counted(graphs):
    found = cell(graphs["isolated_node"], signal(4))
    assert (found["components"], found["isolated"]) == (2, 1)
    assert cell(graphs["two_components"], signal(6))["algebraic_connectivity"] == pytest.approx(
        0.0, abs=1e-12
    )


@pytest.mark.parametrize(
    "name", ["one_node", "no_edges", "isolated_node", "complete", "star", "two_components"]
)
@pytest.mark.parametrize("make", [signal, of_gradients])
def test_small_and_odd_graphs_give_plain_numbers(graphs, name, make):
    nodes = graphs[name].num_nodes
    found = plain(cell(graphs[name], make(nodes)))
    assert found["nodes"] == nodes
    assert sum(found["energy"]) == pytest.approx(1.0, rel=1e-5)


def test_signal_without_energy_has_no_compaction(graphs):
    found = plain(cell(graphs["grid"], Signal(torch.zeros(12, 2, dtype=torch.float64))))
    assert found["compaction"] is None
    assert found["z_score"] is None
    assert found["energy"] == [None] * 5


def test_nulls_that_are_not_asked_for_are_not_measured(graphs):
    found = cell(graphs["grid"], of_gradients(12), nulls=())
    assert not [name for name in found if name.endswith(("_permuted", "_rotated", "_random"))]
    assert "null_energy" not in found


def test_products_for_nulls_are_made_for_those_that_need_them(graphs):
    found = of_gradients(12)
    cell(graphs["grid"], found, nulls=("random",))
    assert "sums" not in vars(found)
    cell(graphs["grid"], found, nulls=("rotated",))
    assert "sums" in vars(found)


@pytest.mark.parametrize("shift", ["laplacian", "adjacency"])
def test_shift_that_is_asked_for_is_taken(graphs, shift):
    found = cell(graphs["grid"], signal(12), shift=shift)
    assert found["shift"] == shift


def test_signed_graph_is_measured_by_its_adjacency(graphs):
    graph = graphs["grid"]
    graph.edge_weight, graph.signed = -graph.edge_weight, True
    found = cell(graph, signal(12))
    assert found["shift"] == "adjacency"
    assert found["algebraic_connectivity"] is None


def test_two_bands_where_not_all_modes_are_computed(graphs):
    measured = measure_construction(graphs["grid"], of_gradients(12), MeasurementOptions(modes=3), seed=0)
    assert measured.cell["modes"] == 3
    assert measured.low == 2
    assert len(measured.cell["energy"]) == len(measured.cell["snr"]) == 2
    assert measured.cell["evidence"]["statistics"]["high"].tolist() == [0.25, 1.0]
    assert "response" not in measured.cell


def test_neither_graph_nor_signal_is_changed(graphs):
    graph, found = graphs["grid"], of_gradients(12)
    kept = graph.edge_weight.clone(), found.X.clone(), found.gradients[0].clone()
    cell(graph, found)
    assert torch.equal(graph.edge_weight, kept[0])
    assert torch.equal(found.X, kept[1])
    assert torch.equal(found.gradients[0], kept[2])


def test_same_seed_gives_the_same_and_another_seed_other_draws(graphs):
    first, again, other = (cell(graphs["grid"], of_gradients(12), seed=seed) for seed in (0, 0, 1))
    assert plain(first) == plain(again)
    assert first["compaction"] == pytest.approx(other["compaction"])
    assert first["compaction_random"] != other["compaction_random"]
    assert first["lift_low_permuted"] != other["lift_low_permuted"]
