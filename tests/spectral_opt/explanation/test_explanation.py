import json

import pytest
import torch
from torch import nn

import paramgraph
from spectral_opt import SpectralConfig, attach, explain

from helpers.names import shown


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 12))


def loss(model, batch):
    return model(batch).square().mean()


def test_without_batches_edges_are_estimates_and_say_so(model):
    found = explain(model, SpectralConfig(builder_options={"k": 3}))
    assert [table.edges for table in found.tables] == [48, 36]
    assert not any(table.edges_known for table in found.tables)
    assert "<= 48" in str(found)
    assert "estimates" in str(found)


def test_with_batches_edges_are_those_of_the_graph(model):
    batches = list(torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0)))
    found = explain(model, SpectralConfig(builder_options={"k": 3}), batches, loss=loss)
    assert all(table.edges_known and table.edges <= 48 for table in found.tables)
    assert found.tables[0].components >= 1


@pytest.mark.parametrize(
    "fields", [{"builder": "ring"}, {"source": "weights", "builder_options": {"k": 3}}], ids=shown
)
def test_graphs_that_need_no_batches_are_built(model, fields):
    assert all(table.edges_known for table in explain(model, SpectralConfig(**fields)).tables)


def test_matched_and_skipped_parameters_have_reasons(model):
    model[2].weight.requires_grad_(False)
    found = explain(model, SpectralConfig(builder="ring"))
    assert [table.parameter for table in found.tables] == ["0.weight"]
    assert dict(found.skipped) == {
        "0.bias": "not matched by targets",
        "2.weight": "frozen (requires_grad is False)",
        "2.bias": "not matched by targets",
    }


def test_the_optimizer_decides_what_is_trained_and_which_decoupled_step_is_taken(model):
    config = SpectralConfig(builder="ring", penalty=1.0, penalty_mode="decoupled")
    for rate, kind in ((0.01, "explicit"), (1.0, "proximal")):
        optimizer = torch.optim.SGD(model[0].parameters(), lr=rate)
        found = explain(model, config, optimizer=optimizer)
        assert [table.parameter for table in found.tables] == ["0.weight"]
        assert kind in found.tables[0].penalty
        assert dict(found.skipped)["2.weight"] == "not in the optimizer"


@pytest.mark.parametrize(
    ("scheme", "kept"),
    [
        # Eigenvectors in float64, in the spectrum and in the filter, and the filter's matrix in float32.
        ("rows", 20 * 16**2),
        # Eigenvectors of both sides in float64 and float32, and the gain of each entry in both.
        ("entries", 12 * (16**2 + 5**2) + 12 * 16 * 5),
    ],
)
def test_memory_counts_what_a_proximal_step_in_the_complete_basis_keeps(model, scheme, kept):
    fields = {
        "builder": "gram",
        "shift": "adjacency",
        "source": "weights",
        "scheme": scheme,
        "targets": ["0"],
    }
    config = SpectralConfig(**fields, response=None, penalty=1.0, penalty_mode="decoupled")
    explicit, proximal = (
        explain(model, config, optimizer=torch.optim.SGD(model[0].parameters(), lr=rate))
        for rate in (1e-9, 1e3)
    )
    assert proximal.tables[0].penalty.endswith("proximal in the complete basis")
    assert proximal.extra_bytes - explicit.extra_bytes == kept


def test_memory_counts_the_start_and_the_copy_for_the_update(model):
    size = model[0].weight.numel() * 4
    fields = {"builder": "ring", "targets": ["0"]}
    bare = explain(model, SpectralConfig(**fields, penalty=0.0, response=None)).extra_bytes
    assert explain(model, SpectralConfig(**fields, response=None)).extra_bytes == bare + size
    on_weight = SpectralConfig(**fields, response=None, penalty_on="weight")
    assert explain(model, on_weight).extra_bytes == bare
    filters = [
        explain(model, SpectralConfig(**fields, penalty=0.0, placement=place)).extra_bytes
        for place in ("gradient", "update")
    ]
    assert filters[1] - filters[0] == size


def test_a_lowrank_filter_costs_four_operations_per_node_mode_and_column(model):
    config = SpectralConfig(builder="ring", targets=["0"], filter_method="lowrank", rank=3, penalty=0.0)
    assert explain(model, config).flops_per_step == 4 * 16 * 3 * 5


def test_everything_goes_to_json(model):
    found = explain(model, [SpectralConfig(builder="ring"), SpectralConfig(builder=None, ridge=1.0)])
    values = json.loads(json.dumps(found.to_dict()))
    assert len(values["tables"]) == 4
    assert values["extra_bytes"] == found.extra_bytes
    assert "1: 2.weight" in str(found)


def test_notes_say_what_a_reader_must_know(model):
    text = str(explain(model, SpectralConfig(builder="ring", placement="update", penalty_mode="loss")))
    assert "weight decay" in text
    assert "handle.penalty()" in text


def test_nothing_to_explain_raises(model):
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen"):
        explain(model, SpectralConfig(builder="ring"))


def test_explaining_changes_nothing(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    explain(model, SpectralConfig(source="weights", builder_options={"k": 3}))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        # The bound of the symmetric Laplacian is 2: 1 / (2 x 0.5 x (2 + 3)) = 0.2.
        ({"builder": "ring", "ridge": 3.0}, "explicit below lr 0.2, else proximal"),
        ({"builder_options": {"k": 3}, "ridge": 3.0}, "explicit below lr 0.2, else proximal"),
        ({"builder": None, "ridge": 2.0}, "explicit below lr 0.5, else proximal"),
        ({"builder": None}, "explicit"),
        ({"builder_options": {"k": 3}, "normalization": None}, "explicit or proximal, by the graph"),
    ],
    ids=shown,
)
def test_without_an_optimizer_the_switch_of_the_decoupled_step_is_stated(model, fields, words):
    found = explain(model, SpectralConfig(**fields, response=None, penalty=0.5, penalty_mode="decoupled"))
    assert {table.penalty for table in found.tables} == {f"decoupled on delta, {words}"}


def test_an_explanation_of_no_config_raises(model):
    with pytest.raises(ValueError, match="at least one"):
        explain(model, [])


def test_what_the_basis_and_drift_cost_is_said(model):
    fields = {"builder": "ring", "targets": ["0"], "penalty": 0.0}
    plain = explain(model, SpectralConfig(**fields, response=None)).extra_bytes
    found = explain(model, SpectralConfig(**fields, placement="basis", refresh="drift:0.1"))
    # Eigenvectors in float64 and float32, and three copies of the table in float32.
    assert found.extra_bytes - plain == 12 * 16 * 16 + 3 * 4 * 16 * 5
    assert found.flops_per_step == 6 * 16 * 16 * 5
    assert "complete spectrum" in found.tables[0].filter
    assert "part of the increment" in str(found)
    assert "every 50 steps" in str(found)


@pytest.mark.parametrize("scheme", ["layers", "blocks"])
def test_parameters_of_a_table_of_several_are_not_left_alone(scheme):
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    found = explain(model, SpectralConfig(builder="ring", scheme=scheme))
    assert {name for table in found.tables for name in table.parameters} == {"0.weight", "1.weight"}
    assert found.skipped == ()


MODES = {
    "filter": {"penalty": 0.0},
    "lowrank": {"penalty": 0.0, "filter_method": "lowrank", "rank": 2},
    "update": {"penalty": 0.0, "placement": "update"},
    "basis": {"penalty": 0.0, "placement": "basis"},
    "penalty": {"response": None},
    "loss": {"response": None, "penalty_mode": "loss"},
    "decoupled": {"response": None, "penalty_mode": "decoupled"},
    "both": {"penalty_on": "weight"},
    "entries": {"scheme": "entries"},
}


@pytest.mark.parametrize("mode", MODES)
def test_the_time_of_a_step_is_measured_where_the_graph_is_built_and_changes_nothing(model, mode):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = explain(model, SpectralConfig(**({"builder": "ring"} | MODES[mode])))
    assert found.timing == "measured"
    assert found.milliseconds_per_step == sum(table.milliseconds for table in found.tables) > 0
    assert "(measured)" in str(found)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_time_of_a_step_is_an_estimate_where_the_graph_is_not_built(model):
    found = explain(model, SpectralConfig(builder_options={"k": 3}))
    assert found.timing == "estimated"
    assert found.milliseconds_per_step > 0
    both = explain(model, [SpectralConfig(builder="ring"), SpectralConfig(builder_options={"k": 3})])
    assert both.timing == both.to_dict()["timing"] == "partly estimated"


def test_attach_does_not_spend_time_on_timing(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, SpectralConfig(builder="ring"))
    assert handle.explanation.timing == "estimated"


def test_one_process_says_that_nothing_moves(model):
    found = explain(model, SpectralConfig(builder="ring"))
    assert "nothing moves between ranks" in str(found)
    assert found.to_dict()["traffic"] == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"refresh": 50}, "built anew every 50 steps, "),
        ({"penalty_mode": "gradient"}, "clipping does not see it"),
        ({"penalty_mode": "decoupled"}, "acts last"),
    ],
    ids=shown,
)
def test_consequences_of_modes_and_refreshes_are_said(model, fields, words):
    assert words in str(explain(model, SpectralConfig(builder="ring", **fields)))


def test_a_notebook_shows_a_card_with_all_text_escaped(model):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("a<b>", nn.Linear(3, 8))

    shown = explain(Odd(), SpectralConfig(builder="ring"))._repr_html_()
    assert "a&lt;b&gt;.weight" in shown
    assert "<b>" not in shown
    assert "not matched by targets: a&lt;b&gt;.bias" in shown
    assert "1 tables" in shown


def test_a_card_of_very_many_tables_is_cut_and_says_so():
    model = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(103)))
    shown = explain(model, SpectralConfig(builder=None, ridge=1.0))._repr_html_()
    assert "and 3 more tables" in shown


def test_configs_are_shown_by_names_and_options_and_no_address(model):
    class Own:
        def __init__(self, k):
            self.k = k

        def __call__(self, data):
            return paramgraph.Ring()(data)

    (config,) = explain(model, SpectralConfig(builder=Own(3), source="weights")).to_dict()["configs"]
    assert "Own(k=3)" in config
    assert " at 0x" not in config


@pytest.mark.parametrize("scheme", ["rows", "entries"])
def test_a_filter_in_the_basis_costs_before_graphs_are_built_what_it_costs_after(model, scheme):
    fields = {"scheme": scheme, "builder_options": {"k": 3}, "placement": "basis", "penalty": 0.0}
    built = explain(model, SpectralConfig(**fields, source="weights")).tables
    estimated = explain(model, SpectralConfig(**fields, source="gradients")).tables
    assert [one.flops_per_step for one in estimated] == [one.flops_per_step for one in built]


@pytest.mark.parametrize("graph", ["columns", "rows"])
def test_a_gram_graph_of_few_texts_is_named(model, graph):
    config = SpectralConfig.preserve(1.0, graph=graph)
    width = next(model.parameters()).shape[1]
    few, many = (
        explain(model, config, batches={"preserve": [torch.rand(texts, width)]}).notes for texts in (4, 40)
    )
    assert any("4 preserved texts count as 4 equally strong ones" in note for note in few)
    assert not any("equally strong ones" in note for note in many)
