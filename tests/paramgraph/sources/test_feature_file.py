import pytest
import torch

from paramgraph import collect, node_tables
from paramgraph.sources import MeanFeatures, collect_in_turn

MODULE = "paramgraph.sources._feature_file"


@pytest.fixture
def in_a_file(monkeypatch):
    monkeypatch.setattr(f"{MODULE}.IN_MEMORY", 0)


def make_model(dtype=torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).to(dtype)


def loss(model, batch):
    return model(batch).square().mean()


def make_batches(dtype=torch.float32):
    return list(torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(1)).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scheme", ["rows", "columns", "layers"])
def test_sums_in_a_file_are_those_in_memory_to_the_last_bit(monkeypatch, dtype, scheme):
    model, batches = make_model(dtype), make_batches(dtype)
    tables = node_tables(model, scheme)
    expected = collect(model, tables, "gradients", batches, loss)
    monkeypatch.setattr(f"{MODULE}.IN_MEMORY", 0)
    found = collect_in_turn(model, tables, "gradients", batches, loss)
    assert list(found) == list(expected)
    for group, features in expected.items():
        assert torch.equal(found[group], features)
        assert found[group].dtype == features.dtype


def test_nothing_of_a_sum_stays_in_memory(in_a_file):
    kept = []
    model, tables = make_model(), node_tables(make_model(), "rows")
    make = MeanFeatures.add

    def noting(self, piece):
        make(self, piece)
        kept.append(self._total.untyped_storage().nbytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MeanFeatures, "add", noting)
        collect(model, tables, "gradients", make_batches(), loss)
    assert len(kept) == 10
    # One number, which has the type and the device.
    assert max(kept) <= 4


def test_what_is_taken_out_is_let_go(in_a_file):
    model = make_model()
    found = collect_in_turn(model, node_tables(model, "rows"), "gradients", make_batches(), loss)
    assert found.pop("0.weight").shape == (6, 4)
    assert list(found) == ["2.weight"]
    assert found.pop("0.weight", torch.zeros(1)).shape == (1,)
    with pytest.raises(KeyError):
        found.pop("0.weight")


@pytest.mark.parametrize(("what", "found"), [("free_disk_bytes", 10), ("lies_in_memory", True)])
def test_without_room_on_a_disk_sums_stay_in_memory_and_that_is_told(
    in_a_file, monkeypatch, caplog, what, found
):
    monkeypatch.setattr(f"{MODULE}.{what}", lambda folder: found)
    model = make_model()
    tables = node_tables(model, "rows")
    found = collect(model, tables, "gradients", make_batches(), loss)
    assert found["0.weight"].shape == (6, 4)
    assert "set TMPDIR" in caplog.text


def test_failures_are_told_before_anything_is_taken_out(in_a_file):
    model = make_model()
    model.beside = torch.nn.Linear(4, 5)
    tables = node_tables(model, "rows", targets=["0", "2", "beside"])
    told = {}

    def of_two(model, batch):
        return model[:3](batch).square().mean()

    found = collect_in_turn(model, tables, "gradients", make_batches(), of_two, on_failure=told.__setitem__)
    assert list(told) == ["beside.weight"]
    assert list(found) == ["0.weight", "2.weight"]
