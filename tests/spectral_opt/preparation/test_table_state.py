from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from paramgraph import eigenpairs
from paramgraph.spectra import KroneckerModes, KroneckerProduct
from spectral_opt import SpectralConfig, attach, prepare
from spectral_opt.preparation import EntryOperator, make_filter, restore_table, table_tensors
from spectral_opt.training import prepared_from_state

FIELDS = {"builder_options": {"k": 3}, "source": "weights", "penalty": 0.0}
KINDS = {
    "exact": {"filter_method": "exact"},
    "lowrank": {"filter_method": "lowrank", "rank": 3},
    "lowrank, tail 0": {"filter_method": "lowrank", "rank": 3, "tail": 0},
    "chebyshev": {"filter_method": "chebyshev"},
    "solve": {"filter_method": "solve"},
    "random walk": {"normalization": "rw"},
    "random walk, solved": {"normalization": "rw", "filter_method": "solve"},
    "adjacency": {"builder": "gram", "builder_options": {}, "shift": "adjacency"},
    "entries": {"scheme": "entries"},
    "columns": {"scheme": "columns"},
    "identity": {"response": "identity"},
}


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12))


def through_bytes(ready):
    return load(save(table_tensors(ready)))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_restored_filter_gives_the_same_bits(model, kind):
    config = SpectralConfig(**(FIELDS | KINDS[kind]))
    (ready,) = prepare(model, config)
    restored = restore_table(ready.table, through_bytes(ready), config)
    X = torch.randn(ready.table.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(restored.filter(X), ready.filter(X))
    assert torch.equal(restored.operator @ X.double(), ready.operator @ X.double())
    assert (restored.reason, restored.edges, restored.components) == (
        ready.reason,
        ready.edges,
        ready.components,
    )
    assert restored.filter.is_identity == ready.filter.is_identity


def test_a_restored_basis_gives_the_same_bits(model):
    config = SpectralConfig(**FIELDS, placement="basis")
    (ready,) = prepare(model, config)
    restored = restore_table(ready.table, through_bytes(ready), config)
    assert torch.equal(restored.spectrum.eigenvectors, ready.spectrum.eigenvectors)
    assert (restored.spectrum.solver, restored.spectrum.reason) == (
        ready.spectrum.solver,
        ready.spectrum.reason,
    )


@pytest.mark.parametrize("kind", ["product", "modes"])
def test_what_acts_on_entries_is_restored_as_it_was(model, kind):
    config = SpectralConfig(
        scheme="entries",
        builder="gram",
        shift="adjacency",
        source="weights",
        penalty=0.0,
        filter_method="auto" if kind == "modes" else "exact",
    )
    (ready,) = prepare(model, config)
    rows, columns = ready.operator.parts
    if kind == "product":
        entries = KroneckerProduct(rows, columns)
    else:
        U, V = (eigenpairs(part).eigenvectors for part in (rows, columns))
        entries = KroneckerModes(U, V, torch.rand(12, 6, generator=torch.Generator().manual_seed(0)))
    operator = EntryOperator(entries)
    ready = replace(ready, operator=operator, filter=make_filter(operator, config), components=None)
    restored = restore_table(ready.table, through_bytes(ready), config)
    assert type(restored.operator.operator) is type(entries)
    X = torch.randn(ready.table.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(restored.filter(X), ready.filter(X))
    assert torch.equal(restored.operator @ X, ready.operator @ X)


def test_no_graph_is_restored_from_nothing(model):
    config = SpectralConfig(builder=None, ridge=1.0)
    (ready,) = prepare(model, config)
    assert table_tensors(ready) == {}
    assert restore_table(ready.table, {}, config).operator is None


@pytest.mark.parametrize("part", ["degrees", "filter.method", "filter.basis", "filter.gain", "edges"])
def test_a_missing_part_is_named(model, part):
    config = SpectralConfig(**FIELDS)
    (ready,) = prepare(model, config)
    tensors = {key: value for key, value in table_tensors(ready).items() if key != part}
    with pytest.raises(ValueError, match=f"lacks the part '{part}'"):
        restore_table(ready.table, tensors, config)


def test_the_saved_method_stands_where_auto_would_choose_another(model):
    saved = SpectralConfig(**FIELDS, filter_method="chebyshev")
    (ready,) = prepare(model, saved)
    restored = restore_table(ready.table, table_tensors(ready), SpectralConfig(**FIELDS))
    assert restored.filter.method == "chebyshev"


def test_a_whole_state_makes_what_attach_takes_as_prepared(model):
    config = SpectralConfig(**FIELDS)
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config)
    state = handle.state_dict()
    handle.remove()
    prepared = prepared_from_state(model, [config], state, model.parameters())
    again = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config, prepared=prepared)
    found = again.state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_a_state_of_other_configs_makes_nothing(model):
    config = SpectralConfig(**FIELDS)
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config)
    with pytest.raises(ValueError, match="it has other configs"):
        prepared_from_state(model, [SpectralConfig(**FIELDS, seed=1)], handle.state_dict())
