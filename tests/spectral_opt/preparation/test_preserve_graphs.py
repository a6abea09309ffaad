"""The graphs of preserved text as tables: both sides each of its own source, and measured in their common modes."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from paramgraph import Gram, NumericalWarning, adjacency, collect, columns, product_energy, rows
from paramgraph.measures import second_moments
from paramgraph.spectra import KroneckerModes, KroneckerProduct
from spectral_opt import SpectralConfig, explain
from spectral_opt.preparation import (
    effective_texts,
    prepare,
    restore_table,
    source_of,
    table_tensors,
)

from helpers.names import shown

K_FAC = SpectralConfig.preserve(1.0, energy=None)
EK_FAC = SpectralConfig.preserve(1.0)
ROWS = SpectralConfig.preserve(1.0, graph="rows")


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 4)).double()


@pytest.fixture(scope="module")
def batches():
    drawn = torch.randn(5, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {"preserve": list(drawn)}


def gram(model, tables, source, batches):
    features = collect(model, tables, source, batches=batches["preserve"])
    return {key: adjacency(Gram()(table.to_data(features[key]))) for key, table in tables.items()}


def test_row_moments_are_the_gram_builder_on_output_gradients(model, batches):
    found = second_moments(model, rows(model), "output_gradients", batches["preserve"])
    expected = gram(model, rows(model), "output_gradients", batches)
    for key, operator in expected.items():
        # The same float64 products in another order.
        np.testing.assert_allclose(found.operator(key).to_dense(), operator.to_dense(), rtol=0, atol=1e-12)


def test_the_product_joins_the_gram_graphs_of_both_sides(model, batches):
    sides = [
        gram(model, rows(model), "output_gradients", batches),
        gram(model, columns(model), "activations", batches),
    ]
    for ready in prepare(model, K_FAC, batches):
        operator = ready.operator.operator
        assert isinstance(operator, KroneckerProduct)
        for side, part in zip(sides, operator.parts, strict=True):
            expected = side[ready.table.group].to_dense()
            np.testing.assert_allclose(part.to_dense(), expected, rtol=0, atol=1e-12)
        entries = operator.nodes
        assert ready.edges == entries * (entries - 1) // 2  # every two entries, as both Gram graphs are dense


@pytest.mark.parametrize("energy", ["model", "matrix"])
def test_energies_are_those_of_the_modes_over_their_mean(model, batches, energy):
    prepared = prepare(model, SpectralConfig.preserve(1.0, energy=energy), batches)
    modes = {ready.table.group: ready.operator.operator for ready in prepared}
    assert all(isinstance(one, KroneckerModes) for one in modes.values())
    bases = {key: (one.row_basis, one.column_basis) for key, one in modes.items()}
    measured = product_energy(model, rows(model), bases, batches["preserve"])
    values = {key: found.values for key, found in measured.items()}
    together = torch.cat([value.flatten() for value in values.values()]).mean()
    for key, one in modes.items():
        mean = together if energy == "model" else values[key].mean()
        torch.testing.assert_close(one.eigenvalues, values[key] / mean)
        identity = torch.eye(len(one.row_basis), dtype=torch.float64)
        torch.testing.assert_close(one.row_basis.T @ one.row_basis, identity)


# Texts of which the representation is near zero, as one layer gives some, outweigh the others.
OUTWEIGHED = pytest.mark.filterwarnings("ignore:.* equally strong ones")


@OUTWEIGHED
def test_float32_models_have_float32_bases(batches):
    model = nn.Sequential(nn.Linear(5, 3))
    (ready,) = prepare(model, EK_FAC, {"preserve": [batch.float() for batch in batches["preserve"]]})
    modes = ready.operator.operator
    assert {modes.row_basis.dtype, modes.column_basis.dtype, modes.eigenvalues.dtype} == {torch.float32}


def test_the_model_is_left_as_it_was(model, batches):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    prepare(model, EK_FAC, batches)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
        assert value.grad is None


def test_the_seed_decides_the_directions(model, batches):
    found = [
        prepare(model, SpectralConfig.preserve(1.0, seed=seed), batches)[0].operator.operator.eigenvalues
        for seed in (0, 0, 1)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


class Unread(nn.Module):
    """A second layer of which the result is thrown away."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, x):
        self.other(x)
        return self.one(x)


@OUTWEIGHED
@pytest.mark.parametrize(
    "config",
    [K_FAC, EK_FAC, SpectralConfig(**(EK_FAC.to_dict() | {"builder": Gram()})), ROWS],
    ids=["K-FAC", "EK-FAC", "features", "rows"],
)
def test_a_matrix_that_no_gradient_reaches_is_left_alone_and_says_so(config, batches):
    model = Unread().double()
    found = {ready.table.group: ready for ready in prepare(model, config, batches)}
    ready = found["other.weight"]
    assert ready.operator is None
    assert "no text's gradient reaches it" in ready.reason
    assert found["one.weight"].operator is not None
    if config.energy:
        assert found["one.weight"].operator.operator.eigenvalues.mean() == pytest.approx(1.0)
    assert any("of the objective 'representation'" in remark for remark in found["one.weight"].remarks)
    shown = explain(model, config, batches).tables
    assert all(table.nodes * table.width == 20 for table in shown)
    again = restore_table(ready.table, load(save(table_tensors(ready))), config)
    assert (again.operator, again.reason, again.nodes) == (None, ready.reason, ready.nodes)


@pytest.mark.parametrize("graph", ["product", "rows"])
def test_where_no_gradient_reaches_anything_that_is_an_error(graph, batches):
    with pytest.raises(ValueError, match="choose another objective, or other targets"):
        prepare(Unread().double(), SpectralConfig.preserve(1.0, graph, targets=["other"]), batches)


@pytest.mark.parametrize("config", [K_FAC, EK_FAC], ids=["K-FAC", "EK-FAC"])
def test_tables_go_to_tensors_and_back(model, batches, config):
    for ready in prepare(model, config, batches):
        again = restore_table(ready.table, load(save(table_tensors(ready))), config)
        X = torch.randn(ready.table.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert torch.equal(again.operator @ X, ready.operator @ X)
        assert again.remarks == ready.remarks
        torch.testing.assert_close(again.filter(X), ready.filter(X))


def test_few_texts_are_counted_and_warned_of(model, batches):
    few = {"preserve": [batches["preserve"][0][:4]]}
    with pytest.warns(NumericalWarning, match="4 preserved texts count as .* equally strong ones"):
        ready = prepare(model, EK_FAC, few)
    assert any("give more texts" in remark for remark in ready[0].remarks)


def test_effective_texts_weigh_by_tokens():
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    effective, texts = effective_texts([{"input_ids": torch.zeros(2, 4), "attention_mask": mask}])
    assert (texts, effective) == (2, pytest.approx(36 / 20))
    assert effective_texts([torch.zeros(3, 5)]) == (pytest.approx(3.0), 3)
    assert effective_texts(["a"]) is None


def test_the_objective_is_chosen_by_the_kind_of_model(model, tiny_transformer):
    tiny_llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
        )
    )
    for one, expected in (
        (model, "representation"),
        (tiny_transformer, "representation"),
        (tiny_llama, "labels"),
    ):
        assert source_of(one, EK_FAC, "rows") == ("output_gradients", {"seed": 0, "objective": expected})
    assert source_of(tiny_llama, EK_FAC, "columns") == ("activations", {})
    fixed = SpectralConfig.preserve(1.0, objective="representation", seed=3)
    assert source_of(tiny_llama, fixed, "rows")[1] == {"seed": 3, "objective": "representation"}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"product": "tensor"}, ValueError, "needs both graphs of scheme 'entries'"),
        ({"column_source": "weights"}, ValueError, "needs both graphs of scheme 'entries'"),
        ({"energy": "model"}, ValueError, "needs both graphs of scheme 'entries'"),
        ({"scheme": "entries", "energy": "model"}, ValueError, "needs product='tensor'"),
        ({"scheme": "entries", "product": "tensr"}, ValueError, "did you mean 'tensor'"),
        ({"source_options": {"objective": "labels"}}, TypeError, "'gradients' has no option 'objective'"),
        ({"source": "output_gradients", "source_options": {"objectiv": 1}}, TypeError, "objective, seed"),
        ({"column_source_options": {"seed": 1}}, ValueError, "would be ignored"),
        ({"source_options": 3}, TypeError, "must be a mapping"),
        ({"scheme": "entries", "column_source": "activation"}, ValueError, "did you mean 'activations'"),
    ],
    ids=shown,
)
def test_fields_that_do_not_belong_together_are_refused(fields, error, words):
    with pytest.raises(error, match=words):
        SpectralConfig(**fields)


@pytest.mark.parametrize("graph", ["product", "rows"])
def test_presets_of_gradients_go_to_json_and_back(graph):
    config = SpectralConfig.preserve(0.5, graph, objective="labels", exclude="pooler")
    assert SpectralConfig.from_json(config.to_json()) == config
    values = {"preset": "preserve", "strength": 0.5, "graph": graph, "objective": "labels"}
    assert SpectralConfig.from_json(json.dumps(values | {"exclude": "pooler"})) == config
    with pytest.raises(ValueError, match="is of inputs and has none"):
        SpectralConfig.preserve(graph="columns", objective="labels")


def test_a_source_of_the_user_may_be_that_of_either_side(model, batches):
    def directions(model, table, batches):
        return torch.eye(len(table.names))[:, :3] + 1.0

    config = SpectralConfig(
        builder="gram",
        scheme="entries",
        source=directions,
        column_source="activations",
        shift="adjacency",
        product="tensor",
        batches="preserve",
        penalty=0.0,
    )
    ready = prepare(model, config, batches)[0]
    features = directions(None, ready.table, None).double()
    expected = features @ features.T
    np.testing.assert_allclose(ready.operator.parts[0].to_dense(), expected * 9 / expected.trace(), rtol=1e-6)
    assert math.isclose(ready.operator.parts[1].to_dense().trace(), 5.0)
