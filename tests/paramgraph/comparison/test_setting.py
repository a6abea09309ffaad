import re
from pathlib import Path

import pytest
import torch
from torch import nn

from paramgraph import compare
from paramgraph.comparison import name_of_model, python_line


def squared(model, batch):
    return model(batch).square().mean()


def test_model_is_named_without_the_place_where_it_lies():
    assert name_of_model(Path("/home/someone/models/small")) == "small"
    assert name_of_model("owner/small") == "small"
    assert name_of_model(nn.Sequential()) == "Sequential"


def test_line_of_python_shows_names_and_no_addresses():
    setting = {
        "model": "small",
        "scheme": "rows",
        "targets": "all-linear",
        "batches": {"build": 3},
        "seeds": [0],
        "signal": "gradients",
    }
    line = python_line(setting, ["ring", len], "weights")
    assert line == (
        "paramgraph.compare('small', ['ring', len], 'weights', 'rows', 'all-linear', batches=batches, seeds=[0], "
        "signal='gradients')"
    )


@pytest.mark.parametrize(
    ("sources", "signal", "parts", "words"),
    [
        ("weights", "weights", [], "The batches are not read by these sources and this signal."),
        ("weights", "gradients", ["measure"], "3 batches measure graphs. The other 4 have no use"),
        ("gradients", "weights", ["build"], "4 batches build graphs; .* The other 3 have no use"),
        ("gradients", "gradients", ["build", "measure"], "4 batches build graphs and 3 others measure them"),
    ],
)
def test_batches_are_said_to_do_what_they_do(sources, signal, parts, words, generator):
    model = nn.Sequential(nn.Linear(4, 12))
    batches = list(torch.randn(7, 5, 4, generator=generator))
    setting = compare(
        model, "cosine_knn", sources, batches=batches, signal=signal, permutations=0, loss=squared
    ).setting
    assert list(setting["batches"]) == parts
    assert re.match(words, setting["chosen"][0])


def test_tuned_model_that_nothing_reads_is_not_opened_and_said_to_be_of_no_use(generator, tmp_path):
    model = nn.Sequential(nn.Linear(4, 12))
    chosen = compare(model, "ring", signal="weights", permutations=0, tuned=tmp_path / "nothing").setting[
        "chosen"
    ]
    assert chosen[0] == "The tuned model is not read by these sources and this signal."


def test_layers_whose_bands_differ_are_said_to_be_pooled_apart(monkeypatch):
    monkeypatch.setattr("paramgraph.comparison._options.COMPLETE_UP_TO", 20)
    monkeypatch.setattr("paramgraph.comparison._options.MODES_BEYOND", 6)
    model = nn.Sequential(nn.Linear(8, 24), nn.Linear(24, 20))
    chosen = compare(model, ["ring"], permutations=0).setting["chosen"]
    assert any(said.startswith("Layers differ in their bands") for said in chosen)
    assert not any(
        said.startswith("Layers differ") for said in compare(model[:1], ["ring"]).setting["chosen"]
    )
