import pytest
import torch
from torch import nn

from paramgraph import collect, rows
from paramgraph.checkpoints import open_checkpoint
from paramgraph.comparison import LayerReader, split_batches


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 6))


@pytest.fixture
def batches(generator):
    return list(torch.randn(7, 5, 4, generator=generator))


def loss(model, batch):
    return model(batch).square().mean()


def reader(model, signal, sources, batches=(), **more):
    splits = {seed: split_batches(len(batches), {}, seed) for seed in (0, 1)}
    return LayerReader(
        model, open_checkpoint(model), {name: name for name in sources}, signal, list(batches), splits, **more
    )


@pytest.mark.parametrize("source", ["gradients", "batch_gradients", "activations"])
def test_features_are_those_of_the_building_batches_and_of_their_halves(model, batches, source):
    found = reader(model, "weights", [source], batches, loss=loss)
    tables = rows(model)
    for reading in found.read(tables):
        for seed, split in found.splits.items():
            features = reading.features_of(source, seed)
            for part, numbers in zip(features, (split.build, *split.halves), strict=True):
                chosen = [batches[number] for number in numbers]
                name = reading.table.group
                by_hand = collect(model, {name: reading.table}, source, chosen, loss)[name]
                # Compressed features have the same products, whatever their basis.
                assert torch.allclose(part @ part.T, by_hand @ by_hand.T, rtol=1e-4, atol=1e-7)


def test_signal_is_the_mean_gradient_of_batches_that_built_nothing(model, batches):
    found = reader(model, "gradients", ["weights"], batches, loss=loss)
    tables = rows(model)
    for reading in found.read(tables):
        for seed, split in found.splits.items():
            chosen = [batches[number] for number in split.measure]
            by_hand = collect(model, tables, "gradients", chosen, loss)[reading.table.group]
            signal = reading.signal(seed)
            assert signal.X.dtype == torch.float64
            assert torch.allclose(signal.X.float(), by_hand, atol=1e-7)  # float32 gradients
            assert len(signal.gradients) == len(split.measure)


def test_batches_that_build_no_graph_and_measure_none_are_not_run(model, batches):
    seen = []

    def counted(model, batch):
        seen.append(next(number for number, own in enumerate(batches) if own is batch))
        return loss(model, batch)

    found = reader(model, "gradients", ["weights"], batches, loss=counted)
    assert all(reading.signal(0).gradients for reading in found.read(rows(model)))
    measuring = {number for split in found.splits.values() for number in split.measure}
    assert seen == sorted(measuring)
    assert len(seen) < len(batches)


@pytest.mark.parametrize("source", ["gradients", "activations"])
def test_a_broken_batch_is_named_by_its_number_among_all(model, batches, source):
    build = split_batches(len(batches), {}, 0).build
    number = next(number for place, number in enumerate(build) if number != place)
    batches[number][:] = torch.nan
    found = reader(model, "weights", [source], batches, loss=loss)
    for reading in found.read(rows(model)):
        with pytest.raises(ValueError, match=f"batch {number}\\b"):
            reading.features_of(source, 0)


def test_weights_need_no_run_and_no_memory_for_several_layers(model):
    found = reader(model, "weights", ["weights"])
    assert not found.runs
    for reading in found.read(rows(model)):
        assert found.bytes_of(reading.table) == 0
        assert torch.equal(reading.features_of("weights", 0)[0], open_checkpoint(model)[reading.table.group])
        assert reading.features_of("weights", 0)[1:] == (None, None)


def test_what_cannot_be_read_is_raised_when_it_is_asked_for(model):
    found = reader(model, "updates", ["weights"], tuned=open_checkpoint({"0.weight": torch.zeros(9, 4)}))
    first, second = found.read(rows(model))
    assert torch.equal(first.signal(0).X, -open_checkpoint(model)["0.weight"].double())
    with pytest.raises(KeyError, match=r"2\.weight"):
        second.signal(0)
    assert second.features_of("weights", 0)[0].shape == (6, 9)


def test_signal_that_is_not_finite_is_refused_by_its_layer(model):
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    first, second = reader(model, "weights", ["weights"]).read(rows(model))
    assert torch.isfinite(first.signal(0).X).all()
    with pytest.raises(ValueError, match=r"weights of '2\.weight' have NaN"):
        second.signal(0)
