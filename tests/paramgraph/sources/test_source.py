"""A source is one value in one table: whoever lists, collects or compares sources finds it there."""

import pytest
import torch
from torch import nn

from paramgraph import CosineKNN, UnknownNameError, collect, compare, rows, source_refusal
from paramgraph.sources import (
    SOURCES,
    MeanFeatures,
    Source,
    StreamingGram,
    activation_passes,
    as_source,
    gradient_passes,
)

BATCHES = list(torch.randn(12, 4, 6, generator=torch.Generator().manual_seed(0)).unbind())


def squared_passes(model, tables, batches, loss, sink):
    """Hand on the squares of activations."""
    yield from activation_passes(model, tables, batches, loss, lambda group, X: sink(group, X * X))


def only_rows(scheme):
    return "" if scheme == "rows" else f"squares are of rows, not of {scheme!r}"


@pytest.fixture
def squares(monkeypatch):
    """A source that nobody has heard of."""
    source = Source(
        name="squares",
        short_names=("sq",),
        passes=squared_passes,
        accumulator=StreamingGram,
        is_signal=True,
        refuses=only_rows,
    )
    monkeypatch.setitem(SOURCES, source.name, source)
    return source


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh())


def test_a_new_source_is_collected_by_both_names(squares, model):
    outputs = model[0](torch.cat(BATCHES)).T.detach()
    for name in ("squares", "sq"):
        found = collect(model, rows(model), name, BATCHES)["0.weight"]
        torch.testing.assert_close(found @ found.T, (outputs**2) @ (outputs**2).T)


def test_a_new_source_is_compared_and_may_be_the_signal(squares, model):
    found = compare(
        model,
        {"near": CosineKNN(k=2)},
        ["squares"],
        targets=["0"],
        batches=BATCHES,
        signal="squares",
        nulls=(),
        permutations=0,
    )
    assert set(found.frame["source"]) == {"squares"}
    assert found.setting["signal"] == "squares"
    assert not found.failures


def test_a_new_source_refuses_its_schemes_and_needs_its_batches(squares, model):
    assert source_refusal("sq", "columns") == "squares are of rows, not of 'columns'"
    with pytest.raises(ValueError, match="'squares' needs batches"):
        compare(model, ["cosine_knn"], ["squares"], targets=["0"], signal="weights")


def test_a_source_that_is_not_in_the_table_is_unknown():
    with pytest.raises(UnknownNameError, match="no source named 'squares'"):
        as_source("squares")


def test_a_function_is_a_source_of_its_own_name():
    source = as_source(only_rows)
    assert (source.name, source.needs_batches, source.from_checkpoint) == ("only_rows", False, False)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_source_either_runs_the_model_or_reads_a_checkpoint(source):
    assert source.needs_batches != source.from_checkpoint
    assert (source.accumulator is None) == source.from_checkpoint
    assert source.needs_loss == (source.passes is gradient_passes)


@pytest.mark.parametrize("keep", [MeanFeatures, StreamingGram])
def test_pieces_of_two_processes_make_the_features_of_one(keep):
    pieces = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0)).unbind()
    alone, first, second = keep(3), keep(3), keep(3)
    for index, piece in enumerate(pieces):
        alone.add(piece)
        (first if index < 2 else second).add(piece)
    sent = []  # what the second process hands over, in its order
    second.features_over(lambda value: sent.append(value.clone()) or value, lambda value: value)
    count = sum(piece.shape[1] for piece in pieces[2:]) if keep is StreamingGram else 3
    if keep is MeanFeatures:  # the mean that is handed over is weighted by the number of all pieces
        sent = [sent[0], second.features() * count / len(pieces)]
    together = first.features_over(lambda value: value + sent.pop(0).to(value.dtype), lambda value: value)
    torch.testing.assert_close(together @ together.T, alone.features() @ alone.features().T)
