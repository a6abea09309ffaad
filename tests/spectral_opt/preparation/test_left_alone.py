"""One table that cannot have a graph is left alone, with its reason, and the others go on."""

import copy

import pytest
import torch
from torch import nn

from paramgraph import CosineKNN
from spectral_opt import SpectralConfig, attach, explain
from spectral_opt.preparation import match_tables, prepare

SMALL, LARGE = "2.weight", ("0.weight", "4.weight")


class WithAnUnusedLayer(nn.Sequential):
    """Layers of 16, 3 and 12 rows, and one that is never called."""

    def __init__(self):
        super().__init__(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3), nn.Tanh(), nn.Linear(3, 12))
        self.unused = nn.Linear(4, 20)

    def forward(self, x):
        for layer in list(self)[:5]:
            x = layer(x)
        return x


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WithAnUnusedLayer().double()


def batches():
    return list(torch.randn(4, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


def loss(model, batch):
    return model(batch).square().mean()


def trained(model, config=None, steps=2):
    model = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    handle = None if config is None else attach(model, optimizer, config, batches(), loss)
    for step in range(steps):
        optimizer.zero_grad()
        loss(model, batches()[step]).backward()
        optimizer.step()
    return model, handle


def test_the_default_config_attaches_to_whatever_fits(model):
    plain, _ = trained(model, steps=1)
    acted, handle = trained(model, SpectralConfig(), steps=1)
    skipped = dict(handle.explanation.skipped)
    assert "10 neighbours asked of a graph of 3 nodes" in skipped[SMALL]
    assert "never called" in skipped["unused.weight"]
    assert [table.parameter for table in handle.explanation.tables] == list(LARGE)
    # After one step each parameter has moved by its own gradient alone.
    assert torch.equal(acted.get_parameter(SMALL), plain.get_parameter(SMALL))
    assert torch.equal(acted.unused.weight, model.unused.weight)
    assert not torch.equal(acted.get_parameter(LARGE[0]), plain.get_parameter(LARGE[0]))


@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
@pytest.mark.parametrize("mode", ["gradient", "decoupled"])
def test_neither_filter_nor_penalty_nor_ridge_acts_on_it(model, placement, mode):
    fields = {
        "placement": placement,
        "penalty": 0.1,
        "penalty_mode": mode,
        "penalty_on": "weight",
        "ridge": 1.0,
    }
    plain, _ = trained(model, steps=1)
    acted, handle = trained(model, SpectralConfig(source="weights", exclude=["unused"], **fields), steps=1)
    assert torch.equal(acted.get_parameter(SMALL), plain.get_parameter(SMALL))
    kept = [table for table in handle._steps.tables if not table.prepared.left_alone]
    by_hand = sum(float(table.penalty(handle.start)) for table in kept)
    assert float(handle.penalty()) == pytest.approx(by_hand, rel=1e-12)


def test_nothing_left_is_one_error_with_the_reasons(model):
    with pytest.raises(ValueError, match=r"no table \(1 tried\).*10 neighbours.*'2\.weight'"):
        attach(
            model, torch.optim.SGD(model.parameters(), 0.1), SpectralConfig(targets=["2"]), batches(), loss
        )
    config = SpectralConfig(source="weights", builder_options={"k": 100})
    with pytest.raises(ValueError, match=r"no table \(4 tried\)") as raised:
        prepare(model, config)
    assert all(f"'{name}'" in str(raised.value) for name in (*LARGE, SMALL, "unused.weight"))


def fails_at_twelve(data):
    if data.num_nodes == 12:
        raise RuntimeError("no graph of a dozen")
    return CosineKNN(k=2)(data)


@pytest.mark.parametrize("scheme", ["rows", "entries"])
def test_what_a_builder_or_a_solver_raises_leaves_that_table_alone(model, scheme):
    config = SpectralConfig(builder=fails_at_twelve, source="weights", scheme=scheme, exclude=["unused"])
    ready = {each.table.group: each for each in prepare(model, config)}
    assert [key for key, each in ready.items() if each.left_alone] == ["4.weight"]
    assert ready["4.weight"].reason.endswith("no graph of a dozen")
    assert ready["4.weight"].operator is None
    assert ready["4.weight"].nodes == (12 if scheme == "rows" else 36)


def test_a_table_with_numbers_that_are_not_finite_is_left_alone(model):
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    ready = {each.table.group: each for each in prepare(model, SpectralConfig(source="weights"))}
    assert ready["0.weight"].left_alone
    assert not ready["4.weight"].left_alone


def test_the_state_leaves_the_same_tables_alone(model):
    config = SpectralConfig(source="weights", exclude=["unused"])
    _, first = trained(model, config, steps=1)
    state = first.state_dict()
    # Attached anew with a builder's option that fits all: the graphs, and what has none, are those of the state.
    again = copy.deepcopy(model)
    second = attach(again, torch.optim.AdamW(again.parameters()), config)
    second.load_state_dict(state)
    tables = {table.name: table.prepared for table in second._steps.tables}
    assert tables[SMALL].left_alone
    assert "10 neighbours" in tables[SMALL].reason
    assert not tables[LARGE[0]].left_alone


def works_twice(data):
    if data.num_nodes == 12:
        works_twice.calls += 1
        if works_twice.calls > 1:
            raise ValueError("not a second time")
    return CosineKNN(k=2)(data)


def test_a_table_that_fails_at_a_refresh_keeps_its_graph(model, caplog):
    works_twice.calls = 0
    config = SpectralConfig(builder=works_twice, source="weights", refresh=1, exclude=["unused"])
    _, handle = trained(model, config, steps=1)
    before = {table.name: table.prepared for table in handle._steps.tables}
    assert not before["4.weight"].left_alone
    assert "4.weight keeps the graph that it had" in caplog.text
    assert handle.metrics()["spectral/refreshes"] == 2


def test_what_one_config_leaves_alone_and_another_acts_on_is_told_by_config(model):
    configs = [SpectralConfig(source="weights", exclude=["unused"]), SpectralConfig.l2sp(1.0)]
    skipped = dict(explain(model, configs).skipped)
    assert "10 neighbours" in skipped[f"0: {SMALL}"]
    assert SMALL not in skipped


def test_tables_are_matched_before_and_after(model):
    config = SpectralConfig(source="weights")
    assert [each.table for each in prepare(model, config)] == list(match_tables(model, config)[0].values())


def test_the_explanation_says_how_much_is_in_nodes(model):
    found = explain(nn.Sequential(nn.Linear(4, 12), nn.Conv1d(12, 40, 1)), SpectralConfig(builder="ring"))
    assert "9% of the weights are in nodes" in found.coverage[0]
    assert any("Conv1d" in note for note in found.notes)
    assert found.coverage[0] in str(found)
    assert found.to_dict()["coverage"] == list(found.coverage)


def test_a_reason_that_names_its_own_table_stands_once_for_all(model):
    model.spare = nn.Linear(4, 20, dtype=torch.float64)
    lines = [
        line
        for line in str(explain(model, SpectralConfig(), batches(), loss=loss)).splitlines()
        if "never" in line
    ]
    assert len(lines) == 1
    assert "the layer was never called" in lines[0]
    assert "unused.weight, spare.weight" in lines[0]


def test_a_layer_that_is_no_plain_matrix_has_its_reason_whatever_its_share(model):
    model.small = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2, dtype=torch.float64))
    explanation = explain(model, SpectralConfig(builder="ring", normalization=None))
    assert not any("only" in note for note in explanation.notes)
    skipped = dict(explanation.skipped)
    assert "computed in each forward pass" in skipped["small.parametrizations.weight.original1"]
    assert skipped["small.bias"] == "not matched by targets"
