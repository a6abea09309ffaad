from pathlib import Path

from torch import nn

from paramgraph import compare
from paramgraph.comparison import name_of_model, python_line


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


def test_layers_whose_bands_differ_are_said_to_be_pooled_apart(monkeypatch):
    monkeypatch.setattr("paramgraph.comparison._options.COMPLETE_UP_TO", 20)
    monkeypatch.setattr("paramgraph.comparison._options.MODES_BEYOND", 6)
    model = nn.Sequential(nn.Linear(8, 24), nn.Linear(24, 20))
    chosen = compare(model, ["ring"], permutations=0).setting["chosen"]
    assert any(said.startswith("Layers differ in their bands") for said in chosen)
    assert not any(
        said.startswith("Layers differ") for said in compare(model[:1], ["ring"]).setting["chosen"]
    )
