"""Every scheme of paramgraph through attach: tables of many matrices, and of parts of one."""

import copy

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from paramgraph import node_tables
from paramgraph.filters import METHODS
from paramgraph.nodes import SCHEMES
from spectral_opt import SpectralConfig, attach


def gpt2():
    config = GPT2Config(
        vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2LMHeadModel(config).eval()


@pytest.fixture
def model():
    """A fused query, key and value, in the transposed layers of GPT-2."""
    return gpt2()


def ring(nodes):
    # A ring of two has one edge, and of one none.
    if nodes < 3:
        return np.array([[1.0, -1.0], [-1.0, 1.0]])[:nodes, :nodes] * (nodes == 2)
    return 2 * np.eye(nodes) - np.roll(np.eye(nodes), 1, 0) - np.roll(np.eye(nodes), -1, 0)


def train(model, config, seeds=(0,)):
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, config)
    for seed in seeds:
        source = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=source)
        optimizer.step()
    return model, handle


def config_of(scheme, **fields):
    return SpectralConfig(
        **({"builder": "ring", "normalization": None, "scheme": scheme, "penalty": 0.0} | fields)
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
def test_the_filter_acts_on_the_gathered_table_and_nowhere_else(model, scheme, placement):
    found, _ = train(model, config_of(scheme, placement=placement))
    plain, _ = train(model, config_of(scheme, response=None))
    before, after, bare = (dict(m.named_parameters()) for m in (model, found, plain))
    expected = {name: value.detach().double().clone() for name, value in bare.items()}
    with torch.no_grad():
        for table in node_tables(model, scheme).values():
            update = (table.gather(bare) - table.gather(before)).double()
            solved = np.linalg.solve(np.eye(len(update)) + ring(len(update)), update.numpy())
            for name, change in table.scatter(torch.from_numpy(solved) - update).items():
                expected[name] += change
    for name, value in after.items():
        # Float32 sums over some dozen nodes of numbers of size 0.1.
        torch.testing.assert_close(value.detach().double(), expected[name], rtol=0, atol=1e-6)
        covered = any(name in table.parameters for table in node_tables(model, scheme).values())
        if not covered:
            assert torch.equal(value, bare[name])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("mode", ["gradient", "decoupled"])
def test_the_penalty_is_that_of_the_gathered_tables(tiny_transformer, scheme, mode):
    model = tiny_transformer
    config = config_of(scheme, response=None, penalty=0.01, penalty_mode=mode, ridge=0.1)
    found, handle = train(model, config, seeds=(0, 1))
    before, after = dict(model.named_parameters()), dict(found.named_parameters())
    value = 0.0
    for table in node_tables(model, scheme).values():
        X = (table.gather(after) - table.gather(before)).detach().double().numpy()
        value += 0.01 * np.trace(X.T @ (ring(len(X)) + 0.1 * np.eye(len(X))) @ X)
    assert float(handle.penalty().detach()) == pytest.approx(value, rel=1e-4)  # float32 sums
    plain, _ = train(model, config_of(scheme, response=None), seeds=(0, 1))
    assert any(not torch.equal(p, q) for p, q in zip(found.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_tables_of_a_scheme_share_no_entry(model, scheme):
    counts = {name: torch.zeros(p.shape) for name, p in model.named_parameters()}
    for table in node_tables(model, scheme).values():
        for name, ones in table.scatter(torch.ones(table.shape)).items():
            counts[name] += ones
    assert all(count.max() <= 1 for count in counts.values() if count.numel())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_identity_keeps_every_bit_of_training(model, scheme):
    found, _ = train(model, config_of(scheme, response="identity", placement="update"), seeds=(0, 1))
    plain, _ = train(model, config_of(scheme, response=None), seeds=(0, 1))
    assert all(torch.equal(p, q) for p, q in zip(found.parameters(), plain.parameters(), strict=True))


def test_attention_maps_are_a_source_of_heads(tiny_transformer, tiny_batches):
    optimizer = torch.optim.SGD(tiny_transformer.parameters(), lr=0.1)
    config = SpectralConfig(scheme="heads", source="attention_maps", builder_options={"k": 2}, response=None)
    handle = attach(tiny_transformer, optimizer, config, tiny_batches[:2])
    assert [table.edges > 0 for table in handle.explanation.tables] == [True]


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("exact", "lowrank")])
def test_every_method_without_a_rank_is_the_exact_filter(model, method):
    config = {"targets": ["c_proj"], "placement": "update"}
    results = [train(model, config_of("rows", filter_method=name, **config))[0] for name in (method, "exact")]
    for one, other in zip(*(result.parameters() for result in results), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)  # float32
