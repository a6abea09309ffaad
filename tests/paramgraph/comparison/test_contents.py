"""Layers on disk are taken for what they were made from: functions, objects, batches, and what these read."""

import functools
import types

import pytest
import torch
from torch import nn
from torch_geometric.transforms import Compose

from paramgraph import Permuted, Ring, compare

TIMES = ("seconds", "build_seconds")


def deep():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Linear(12, 12) for _ in range(2)))


def kept(model, folder, builder):
    return compare(model, {"own": builder}, permutations=0, nulls=(), folder=folder)


def timeless(result):
    return [{name: value for name, value in cell.items() if name not in TIMES} for cell in result.cells]


def seconds(result):
    """Seconds are those of the one measurement that a cell is from."""
    return [cell["seconds"] for cell in result.cells]


TIMES_OF_RING = 1


def ring_of(nodes):
    return Ring()(nodes)


def more_of(data, times, option=None):
    graph = ring_of(data)
    graph.edge_weight = times * TIMES_OF_RING * graph.edge_weight
    return graph


class Times:
    def __init__(self, times):
        self.times = times

    def __call__(self, data):
        return more_of(data, self.times)

    def bound(self, data):
        return self(data)


def edited(source, **known):
    """Define a builder `own` as a notebook does, in a module of its own."""
    module = types.ModuleType("notebook")
    vars(module).update(known)
    exec(source, vars(module))
    return module.own


LINKS = """
import torch
from paramgraph import Ring, CosineKNN
LINKED = 1
def linked(data, k=3): return (CosineKNN(k=k) if LINKED else Ring())(data)
def own(data): return linked(data)
"""
EDITS = {
    "constant": ("k=3", "k=4"),
    "global": ("LINKED = 1", "LINKED = 0"),
    "function that it calls": ("CosineKNN(k=k) if", "Ring() if"),
    "own code": ("return linked(data)", "return linked(data, 4)"),
}


@pytest.mark.parametrize(("old", "new"), EDITS.values(), ids=EDITS)
def test_builder_that_was_edited_is_measured_again_and_the_old_one_found_again(tmp_path, old, new):
    first = kept(deep(), tmp_path, edited(LINKS))
    other = edited(LINKS.replace(old, new))
    found = kept(deep(), tmp_path, other)
    assert timeless(found) == timeless(kept(deep(), None, other))
    assert timeless(found) != timeless(first)
    assert seconds(kept(deep(), tmp_path, other)) == seconds(found)
    assert seconds(kept(deep(), tmp_path, edited(LINKS))) == seconds(first)


@pytest.mark.parametrize(
    "own",
    [
        lambda times: functools.partial(more_of, times=times),
        lambda times: lambda data: more_of(data, times),
        lambda times: lambda data, option=times: more_of(data, 1, option),
        Times,
        lambda times: Times(times).bound,
        lambda times: Permuted(Times(times)),
        lambda times: Compose([Times(times)]),
    ],
    ids=["partial", "closure", "default", "object", "method", "inside a builder", "inside a transform"],
)
def test_builders_of_one_name_are_told_apart_by_what_they_hold(tmp_path, own):
    first = kept(deep(), tmp_path, own(2.0))
    assert seconds(kept(deep(), tmp_path, own(2.0))) == seconds(first)
    other = kept(deep(), tmp_path, own(3.0))
    assert not {*seconds(other)} & {*seconds(first)}
    assert timeless(other) == timeless(kept(deep(), None, own(3.0)))


@pytest.mark.parametrize("what", ["loss", "source", "batches", "model"])
def test_loss_source_batches_and_code_of_the_model_are_told_apart(tmp_path, what):
    def asked(times, folder):
        class Scaled(nn.Sequential):
            def forward(self, x):
                return times * super().forward(x) if what == "model" else super().forward(x)

        def loss(model, batch):
            return (model(batch["x"]) * (times if what == "loss" else 1)).square().mean()

        def source(model, table, batches):
            return table.gather(dict(model.named_parameters())) * (times if what == "source" else 1)

        generator = torch.Generator().manual_seed(0)
        text = "short" if what == "batches" and times > 1 else "long"
        batches = [{"x": torch.randn(3, 12, generator=generator), "text": text} for _ in range(6)]
        model = Scaled(nn.Linear(12, 12))
        model.load_state_dict(deep()[:1].state_dict())
        return compare(
            model, ["cosine_knn"], [source], batches=batches, loss=loss, permutations=0, folder=folder
        )

    first = asked(1.0, tmp_path)
    assert seconds(asked(1.0, tmp_path)) == seconds(first)
    other = asked(2.0, tmp_path)
    assert seconds(other) != seconds(first)
    assert timeless(other) == timeless(asked(2.0, None))


def test_what_cannot_be_told_from_an_earlier_one_is_measured_each_time_and_said(tmp_path):
    with (tmp_path / "text").open("w") as file:

        def own(data):
            file.write("asked")
            return Ring()(data)

        first = kept(deep(), tmp_path, own)
        second = kept(deep(), tmp_path, own)
    assert not {*seconds(first)} & {*seconds(second)}
    assert timeless(first) == timeless(second)
    (said,) = [said for said in second.setting["chosen"] if "cannot be told" in said]
    assert said.startswith(
        "The builder of 'own of weights' cannot be told from an earlier one: it reaches a _io.TextIO"
    )


def test_records_show_builders_and_sources_by_name_and_options_and_no_address():
    def source(model, table, batches, power=1):
        return table.gather(dict(model.named_parameters())) ** power

    builders = {
        "a": functools.partial(more_of, times=2.0),
        "b": Times(3),
        "c": Permuted(Times(3)),
        "d": lambda data: Ring()(data),
        "e": Times(3).bound,
    }
    found = compare(deep(), builders, [source, functools.partial(source, power=2)], permutations=0)
    text = found.to_json()
    assert " at 0x" not in text
    described = {one["name"].split()[0]: one["builder"] for one in found.constructions}
    assert described["a"] == "more_of(times=2.0)"
    assert described["b"] == "Times(times=3)"
    assert described["c"] == "Permuted(builder=Times(times=3), seed=0)"
    assert described["e"] == "Times(times=3).bound"
    assert {one["source"].rpartition(".")[2] for one in found.constructions} == {"source", "source(power=2)"}
