"""One odd layer is left out by name and reason, and the others are measured as if it were not there."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from paramgraph import Comparison, compare, coverage

from helpers.tiny_architectures import make

TIMES = ("seconds", "build_seconds")


class Odd(nn.Module):
    """Two plain layers, and beside them one that is given by `kind`."""

    def __init__(self, kind):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(6, 14), nn.Linear(14, 12)
            self.odd = nn.Linear(14, 13)
        self.kind = kind
        if kind == "weight-normed":
            parametrizations.weight_norm(self.odd)
        if kind == "NaN":
            with torch.no_grad():
                self.odd.weight[0, 0] = torch.nan
        if kind == "not linear":
            self.odd = nn.Conv1d(14, 14, 3)
        if kind == "small":
            self.odd = nn.Linear(14, 3)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        if self.kind == "small":
            hidden = hidden + self.odd(hidden).mean()
        return self.last(hidden)


def loss(model, batch):
    return model(batch).square().mean()


@pytest.fixture(scope="module")
def batches():
    return list(torch.randn(6, 5, 6, generator=torch.Generator().manual_seed(0)))


def run(kind, batches, sources=("batch_gradients", "activations"), builders=("cosine_knn", "gram"), **more):
    asked = {"batches": batches, "loss": loss, "permutations": 0, "nulls": ()}
    return compare(Odd(kind), builders, sources, **asked | more)


def timeless(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def plain(batches):
    return run("never called", batches, exclude=["odd"])


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("never called", "odd.weight", "never called"),
        ("not linear", "odd.weight", "Conv1d"),
        ("weight-normed", "odd", "parametr"),
    ],
)
def test_an_odd_layer_stands_with_its_reason_and_the_others_are_as_without_it(
    kind, name, reason, batches, plain
):
    found = run(kind, batches)
    assert timeless(found.cells) == timeless(plain.cells)
    assert [one["name"] for one in found.left_out] == [name]
    assert reason in found.left_out[0]["reason"]


def test_a_layer_that_is_too_small_for_every_builder_is_left_out(batches):
    found = run("small", batches, "batch_gradients", "cosine_knn")
    assert {cell["layer"] for cell in found.cells} == {"first.weight", "last.weight"}
    assert found.left_out == ({"name": "odd.weight", "reason": found.left_out[0]["reason"]},)
    assert "k=10 neighbours asked of a graph of 3 nodes" in found.left_out[0]["reason"]


def test_a_layer_on_which_some_constructions_work_is_measured_by_these(batches):
    found = run("small", batches, "batch_gradients")
    assert {cell["construction"] for cell in found.cells if cell["layer"] == "odd.weight"} == {
        "gram of batch_gradients"
    }
    assert not found.left_out


def test_weights_with_nan_are_left_out_and_weights_alone_say_so(batches):
    found = compare(Odd("NaN"), "ring", permutations=0, nulls=())
    assert {cell["layer"] for cell in found.cells} == {"first.weight", "last.weight"}
    assert [one["name"] for one in found.left_out] == ["odd.weight"]
    assert "NaN" in found.left_out[0]["reason"]


def test_where_nothing_is_left_the_error_has_each_reason_once():
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 30))
    with torch.no_grad():
        model[2].weight[:] = torch.nan
    with pytest.raises(
        ValueError,
        match=r"measured: k=10 neighbours .* 5 nodes.* \(0\.weight\); k=10 .* \(1\.weight\); .*NaN.* \(2\.weight\)",
    ):
        compare(model, "cosine_knn", permutations=0)


def test_the_result_says_how_much_of_the_model_is_in_nodes(batches):
    found = run("not linear", batches, "batch_gradients", "gram")
    whole = coverage(Odd("not linear"))
    assert found.setting["coverage"]["share"] == pytest.approx(whole.share, abs=1e-6)  # six digits are kept
    assert found.setting["coverage"]["warning"] == whole.warning != ""
    assert "Only 30 % of the model's weights are in nodes." in found.verdict


def test_json_keeps_what_was_left_out(batches):
    found = run("small", batches, "batch_gradients", "cosine_knn")
    assert Comparison.from_json(found.to_json()).left_out == found.left_out != ()


def test_experts_are_measured_one_by_one():
    model = make("Mixtral")
    found = compare(model, "ring", permutations=0, nulls=(), targets=["gate_up_proj"])
    layers = [cell["layer"] for cell in found.cells]
    stacks = [f"model.layers.{layer}.mlp.experts.gate_up_proj" for layer in range(2)]
    assert layers == [f"{stack}[{at}]" for stack in stacks for at in range(model.config.num_local_experts)]
    assert found.setting["coverage"]["share"] == pytest.approx(
        coverage(model, ["gate_up_proj"]).share, abs=1e-6
    )


def test_an_expert_that_no_token_reached_is_left_out_and_its_neighbours_are_measured():
    model = make("Mixtral")
    batches = [
        {"input_ids": torch.full((1, 1), 1 + at), "labels": torch.full((1, 1), 1 + at)} for at in range(6)
    ]
    asked = {"batches": batches, "loss": logits, "permutations": 0, "nulls": (), "targets": ["down_proj"]}
    found = compare(model, "ring", "batch_gradients", **asked)
    measured, left = (
        {cell["layer"] for cell in found.cells},
        {one["name"]: one["reason"] for one in found.left_out},
    )
    experts = model.config.num_local_experts
    stacks = [f"model.layers.{layer}.mlp.experts.down_proj" for layer in range(2)]
    assert measured | set(left) == {f"{stack}[{at}]" for stack in stacks for at in range(experts)}
    assert measured
    assert left
    assert all("token" in reason or "zero" in reason for reason in left.values())


def logits(model, batch):
    return model(input_ids=batch["input_ids"]).logits.square().mean()
