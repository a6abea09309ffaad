import bitsandbytes
import pytest
import torch
from torch import nn

from paramgraph import coverage, rows

from helpers.tiny_architectures import ARCHITECTURES


class Router(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 4))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))


class Experts(nn.Module):
    is_transposed = False

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.zeros(3, 8, 4)), nn.Parameter(torch.zeros(3, 4, 8))


def model(**layers):
    return nn.ModuleDict({"embeddings": nn.Embedding(50, 4), "fc": nn.Linear(4, 4), **layers})


def test_embeddings_heads_vectors_and_biases_are_no_weights():
    found = coverage(model(norm=nn.LayerNorm(4), lm_head=nn.Linear(4, 50)))
    assert (found.covered, found.weights, found.share) == (16, 16, 1.0)
    assert str(found) == "100% of the weights are in nodes: 16 of 16 entries"
    assert found.warning == ""


def test_what_is_left_out_is_named_with_its_reason():
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))
    found = coverage(model(router=Router(), conv=nn.Conv1d(4, 2, 3), normed=normed))
    assert (found.covered, found.weights) == (16, 16 + 12 + 24 + 20)
    assert found.left_out == {
        "normed": "its weight is computed in each forward pass (weight norm or another parametrization)",
        "router.weight": "a parameter of Router itself, in no linear layer",
        "conv.weight": "of Conv1d, which is no linear layer",
    }
    assert found.warning.startswith("only 22.2% of the weights are in nodes; left out: normed (its weight is")


def test_a_warning_ends_at_nine_tenths():
    left = nn.Conv1d(2, 2, 1)  # 4 entries
    assert coverage(model(more=nn.Linear(4, 5), conv=left)).warning == ""  # 36 of 40
    assert "only 88.8%" in coverage(model(more=nn.Linear(4, 4), conv=left)).warning  # 32 of 36


@pytest.mark.parametrize("rule", [{"targets": ["fc"]}, {"exclude": ["other"]}, {"targets": "fc"}], ids=str)
def test_what_a_rule_leaves_out_is_no_failure(rule):
    found = coverage(model(other=nn.Linear(4, 8)), **rule)
    assert (found.covered, found.excluded, found.weights) == (16, 32, 48)
    assert (found.left_out, found.warning) == ({}, "")
    assert str(found) == "33.3% of the weights are in nodes: 16 of 48 entries, 32 left out as asked"


@pytest.mark.parametrize(
    "rule", [{"targets": ["up[1]"]}, {"exclude": ["up[0]", "up[2]", "down", "fc"]}], ids=str
)
def test_experts_beside_those_of_a_rule_are_left_out_as_asked(rule):
    found = coverage(model(experts=Experts()), **rule)
    assert (found.covered, found.excluded, found.weights) == (32, 16 + 5 * 32, 16 + 6 * 32)


def test_an_excluded_weight_that_could_not_be_cut_is_no_failure_either():
    assert coverage(model(router=Router()), exclude=["router"]).left_out == {}


def test_a_weight_in_buffers_is_left_out_by_name():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.in_features, self.out_features = 8, 6
            self.register_buffer("qweight", torch.zeros(1, 6, dtype=torch.int32))

    found = coverage(model(packed=Packed()))
    assert (found.covered, found.weights) == (16, 16 + 48)
    assert found.left_out == {"packed": "its weight lies in buffers of Packed, as of a quantized layer"}


def test_quantized_layers_are_counted_as_they_were():
    layers = nn.ModuleDict(
        {
            "four": bitsandbytes.nn.Linear4bit(64, 32),
            "packed": bitsandbytes.nn.Linear4bit(64, 32, quant_storage=torch.bfloat16),
            "eight": bitsandbytes.nn.Linear8bitLt(64, 32, has_fp16_weights=False),
        }
    ).to("cpu")
    assert coverage(layers).covered == 3 * 64 * 32
    tables = rows(layers)
    assert {group: table.shape for group, table in tables.items()} == dict.fromkeys(
        ("four.weight", "packed.weight", "eight.weight"), (32, 64)
    )
    for table in tables.values():
        with pytest.raises(
            ValueError,
            match=r"is quantized, stored as torch\.(u?int8|bfloat16) .* features that need no weight",
        ):
            table.gather(dict(layers.named_parameters()))


# What little of them is in linear layers: experts two-dimensional in one parameter, heads of three dimensions,
# convolutions.
BELOW = {"DBRX": "DbrxExpertGLU", "XLNet": "XLNetRelativeAttention", "ConvNeXt": "Conv2d"} | {
    "Funnel": "FunnelRelMultiheadAttention"
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_most_of_every_architecture_is_in_nodes_or_named(name, random_model):
    network = random_model(name).model
    found = coverage(network)
    known = dict(network.named_parameters())
    assert set(found.left_out) <= {*known, *(name.rpartition(".")[0] for name in known)}
    assert (
        found.covered + sum(known[name].numel() for name in found.left_out if name in known) == found.weights
    )
    assert (found.share < 0.9) == (name in BELOW)
    assert BELOW.get(name, "") in found.warning


def test_tied_weights_count_once():
    layers = model(other=nn.Linear(4, 4))
    layers["other"].weight = layers["fc"].weight
    assert coverage(layers).weights == 16


def test_many_of_one_reason_are_told_once():
    found = coverage(model(**{f"router{i}": Router() for i in range(5)}))
    assert found.reasons() == [
        "router0.weight, router1.weight, router2.weight and 2 more (a parameter of Router itself, in no linear layer)"
    ]


def test_the_share_is_rounded_down():
    found = coverage(model(big=nn.Linear(200, 200), router=Router()))
    assert str(found).startswith("99.9% of")
