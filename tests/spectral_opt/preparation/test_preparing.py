import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data

import paramgraph
import spectral_opt.preparation.prepared_table
from paramgraph.sources import SOURCES, Source, StreamingGram, activation_passes
from spectral_opt import SpectralConfig, attach, prepare
from spectral_opt.preparation import (
    as_configs,
    bare_model,
    calibration_sets,
    check_calibration,
    match_tables,
    needs_batches,
)

from helpers.names import shown


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 6))


@pytest.fixture
def batches():
    return list(torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0)))


def loss(model, batch):
    return model(batch).square().mean()


@pytest.mark.parametrize("source", ["weights", "gradients", "batch_gradients", "activations"])
@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_the_operator_is_that_of_the_built_graph(model, batches, source, scheme):
    config = SpectralConfig(builder_options={"k": 2}, source=source, scheme=scheme)
    ready = prepare(model, config, batches, loss)
    table = paramgraph.node_tables(model, scheme)[ready[0].table.group]
    features = paramgraph.collect(model, {"t": table}, source, batches, loss)["t"]
    expected = paramgraph.laplacian(paramgraph.CosineKNN(k=2)(table.to_data(features)))
    np.testing.assert_allclose(
        ready[0].operator.to_dense(), expected.to_dense(), atol=1e-6
    )  # float32 features
    assert [item.nodes for item in ready] == [item.table.shape[0] for item in ready]
    assert ready[0].components == expected.components


def test_all_tables_share_one_pass_over_the_batches(model, batches):
    calls = []

    def counted(model, batch):
        calls.append(1)
        return loss(model, batch)

    prepare(model, SpectralConfig(builder_options={"k": 2}), batches, counted)
    assert len(calls) == len(batches)


def test_each_edge_counts_once(model):
    assert [ready.edges for ready in prepare(model, SpectralConfig(builder="ring"))] == [9, 6]


def test_no_builder_gives_no_operator(model):
    ready = prepare(model, SpectralConfig(builder=None, ridge=1.0))[0]
    assert (ready.operator, ready.filter, ready.edges, ready.components) == (None, None, 0, 9)


def test_a_dense_graph_is_kept_as_its_operator_only(model, batches):
    config = SpectralConfig(builder="gram", source="activations", shift="adjacency", penalty=0.0)
    ready = prepare(model, config, batches, loss)[0]
    assert ready.operator.is_dense
    assert np.trace(ready.operator.to_dense()) == pytest.approx(9, rel=1e-5)  # mean diagonal 1, float32
    assert not any(isinstance(value, Data) for value in vars(ready).values())


def test_rank_is_read_by_the_lowrank_filter_only_and_is_at_most_all_nodes(model):
    lowrank = SpectralConfig(builder="ring", filter_method="lowrank", rank=7)
    assert [ready.filter.rank for ready in prepare(model, lowrank)] == [7, 6]
    said = "; rank 7 is more than there are modes, so all 6 are kept"
    assert [ready.reason.endswith(said) for ready in prepare(model, lowrank)] == [False, True]
    assert prepare(model, SpectralConfig(builder="ring", rank=2))[0].filter.method == "exact"


def test_spectra_are_kept_on_request(model):
    config = SpectralConfig(builder="ring")
    assert prepare(model, config)[0].spectrum is None
    assert prepare(model, config, keep_spectra=True)[0].spectrum.complete


def test_a_positive_gram_matrix_may_be_penalised_without_a_search_for_its_lowest_value(
    model, batches, monkeypatch
):
    monkeypatch.setattr(
        spectral_opt.preparation.prepared_table, "smallest_eigenvalue", lambda *_: pytest.fail("searched")
    )
    config = SpectralConfig(builder="gram", source="activations", shift="adjacency", penalty=0.1)
    assert prepare(model, config, batches, loss)


def test_an_indefinite_adjacency_needs_a_ridge_for_a_penalty(model):
    fields = {"builder": "ring", "shift": "adjacency", "response": None, "penalty": 0.1}
    with pytest.raises(ValueError, match=r"no minimum.*ridge >= "):
        prepare(model, SpectralConfig(**fields))
    assert prepare(model, SpectralConfig(**fields, ridge=2.1))


def test_a_source_of_ones_own_is_called(model):
    config = SpectralConfig(
        builder_options={"k": 2}, source=lambda model, table, batches: torch.ones(table.shape)
    )
    # All nodes alike: each finds two neighbours at cosine 1.
    assert float(prepare(model, config)[0].operator.degrees.min()) >= 2


def broken(data):
    data = data.clone()
    data.edge_index, data.edge_weight = torch.tensor([[0], [1]]), torch.tensor([1.0])
    return data


def no_graph(data):
    return "graph"


def other_nodes(data):
    return paramgraph.Ring()(Data(num_nodes=3))


@pytest.mark.parametrize("builder", [broken, no_graph, other_nodes])
def test_a_builder_that_returns_no_good_graph_is_named(model, builder):
    with pytest.raises(ValueError, match=rf"{builder.__name__}.*'0\.weight'"):
        prepare(model, SpectralConfig(builder=builder, source="weights"))


def test_missing_batches_raise_before_any_work(model):
    with pytest.raises(
        ValueError, match=r"'gradients' reads the calibration batches 'task'.*given: 'preserve'"
    ):
        prepare(model, SpectralConfig(), {"preserve": [1]})


def test_empty_batches_raise(model):
    with pytest.raises(ValueError, match="empty"):
        prepare(model, SpectralConfig(), [])


def test_other_keys_raise():
    with pytest.raises(ValueError, match="'task' and 'preserve'"):
        calibration_sets({"input_ids": [1]})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"source": "weights"}, False),
        ({"builder": None}, False),
        ({"builder": "ring"}, False),
        ({"builder": "permuted", "builder_options": {"builder": "ring"}}, False),
        ({"source": "activations", "builder": "gram"}, True),
    ],
    ids=shown,
)
def test_batches_are_asked_for_only_where_they_are_read(fields, expected):
    config = SpectralConfig(**fields)
    assert needs_batches(config) is expected
    if not expected:
        check_calibration(config, {})


def test_one_shot_iterators_serve_several_configs():
    sets = calibration_sets({"task": iter([1, 2]), "preserve": None})
    assert sets == {"task": [1, 2]}


def test_matching_says_what_is_skipped_and_why(model):
    model[0].weight.requires_grad_(False)
    tables, skipped = match_tables(model, SpectralConfig(), model.parameters())
    assert list(tables) == ["2.weight"]
    assert skipped == {"0.weight": "frozen (requires_grad is False)"}


def test_without_parameters_frozen_tables_are_kept(model):
    model.requires_grad_(False)
    assert list(match_tables(model, SpectralConfig())[0]) == ["0.weight", "2.weight"]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        (None, TypeError, "got NoneType"),
        ({"builder": "ring"}, TypeError, "got dict.*from_dict"),
        ("ring", TypeError, "got str"),
        ([SpectralConfig(), 3], TypeError, "got int"),
        ([], ValueError, "at least one"),
    ],
    ids=shown,
)
def test_what_is_no_config_is_named(config, kind, words):
    with pytest.raises(kind, match=words):
        as_configs(config)


def test_one_config_several_and_a_generator_are_configs():
    config = SpectralConfig()
    assert as_configs(config) == as_configs([config]) == as_configs(item for item in [config]) == (config,)


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_model_is_named():
    with pytest.raises(TypeError, match=r"model is a str.*load_model"):
        bare_model("gpt2")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("batches", [3, "task", torch.ones(2), {"preserve": {"input_ids": [1]}}], ids=shown)
def test_what_is_no_iterable_of_batches_raises_before_any_work(batches):
    with pytest.raises(TypeError, match=r"calibration batches '(task|preserve)' are one .*\[batch\]"):
        calibration_sets(batches)


def test_one_batch_without_a_list_is_recognised():
    with pytest.raises(ValueError, match=r"one batch goes into a list"):
        calibration_sets({"input_ids": torch.ones(2, 3)})


@pytest.mark.usefixtures("unchecked_types")
def test_a_loss_that_cannot_be_called_raises_before_any_work(model, batches):
    with pytest.raises(TypeError, match="loss is 3"):
        prepare(model, SpectralConfig(), batches, loss=3)


def test_a_source_that_is_added_to_the_table_is_a_choice_of_a_config_and_can_be_attached(monkeypatch):
    source = Source(name="squares", passes=activation_passes, accumulator=StreamingGram)
    with pytest.raises(ValueError, match="squares"):
        SpectralConfig(source="squares")
    monkeypatch.setitem(SOURCES, source.name, source)
    model = nn.Sequential(nn.Linear(3, 12))
    config = SpectralConfig(builder_options={"k": 2}, source="squares")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="source 'squares' reads the calibration batches 'task'"):
        attach(model, optimizer, config)
    handle = attach(model, optimizer, config, batches=[torch.randn(5, 3)])
    assert handle.explanation.configs == (config,)
    handle.remove()
