"""Controls of a refinement, and what becomes of weights that no filter acts on."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import paramgraph
from paramgraph.graphs import get_builder
from spectral_opt import Refiner, SpectralConfig, refine

from helpers.configs import preserve_config


def network(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.LayerNorm(9), nn.BatchNorm1d(9), nn.Linear(9, 4))


@pytest.fixture
def base():
    return network(0).eval()


@pytest.fixture
def tuned(base):
    model = copy.deepcopy(base)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    return model


@pytest.fixture
def batches():
    return {"preserve": list(torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0)))}


COLUMNS = SpectralConfig.preserve(0.3, graph="columns")


@pytest.mark.parametrize("kind", ["permuted", "rotated"])
def test_a_null_is_that_of_the_builder_of_its_name(base, tuned, batches, kind):
    null = Refiner(base, COLUMNS, batches).null(kind, seed=3).apply(tuned)
    built = preserve_config(0.3, builder=kind, builder_options={"builder": get_builder("gram"), "seed": 3})
    expected = refine(base, tuned, built, batches)
    # Features are float32 on the way through a builder.
    torch.testing.assert_close(null["0.weight"], expected["0.weight"], rtol=0, atol=1e-5)
    assert (null["0.weight"] - refine(base, tuned, COLUMNS, batches)["0.weight"]).abs().max() > 1e-3


@pytest.mark.parametrize("graph", ["columns", "rows", "product"])
@pytest.mark.parametrize("null", ["permuted", "diagonal"])
def test_a_config_with_a_null_is_the_null_of_the_filter(base, tuned, batches, graph, null):
    config = SpectralConfig.preserve(1.0, graph, seed=3)
    filtered = Refiner(base, config, batches)
    found = Refiner(base, replace(config, null=null), batches)
    expected = filtered.null(null, 3).apply(tuned)
    refined = found.apply(tuned)
    assert all(torch.equal(refined[name], value) for name, value in expected.items())
    assert (refined["4.weight"] - filtered.apply(tuned)["4.weight"]).abs().max() > 1e-3
    operators = [[ready.operator for ready in one.filters.tables[0].values()] for one in (filtered, found)]
    shared = [[one is other for one in kept for other in kept] for kept in operators]
    assert shared[0] == shared[1]


def test_a_null_measures_nothing_and_leaves_the_refiner_alone(base, tuned, batches, monkeypatch):
    refiner = Refiner(base, COLUMNS, batches)
    before = refiner.apply(tuned)
    monkeypatch.setattr(nn.Module, "__call__", lambda *_: pytest.fail("the model ran"))
    first, again, other = (refiner.null("permuted", seed).apply(tuned) for seed in (0, 0, 1))
    assert torch.equal(first["4.weight"], again["4.weight"])
    assert not torch.equal(first["4.weight"], other["4.weight"])
    assert torch.equal(refiner.apply(tuned)["4.weight"], before["4.weight"])


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
def test_sparse_laplacians_are_permuted_too(base, tuned, normalization):
    config = SpectralConfig(builder="ring", normalization=normalization, penalty=0.0)
    refiner = Refiner(base, config)
    found = refiner.null("permuted", seed=2).apply(tuned)
    built = SpectralConfig(
        builder="permuted",
        builder_options={"builder": "ring", "seed": 2},
        normalization=normalization,
        penalty=0.0,
    )
    torch.testing.assert_close(found["0.weight"], refine(base, tuned, built)["0.weight"])
    with pytest.raises(ValueError, match=r"'permuted', or shift='adjacency'"):
        refiner.null("rotated")


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_null_is_refused(base, batches):
    with pytest.raises(ValueError, match="did you mean 'rotated'"):
        Refiner(base, COLUMNS, batches).null("rotate")


@pytest.mark.parametrize("rest", ["tuned", "scaled", "base"])
def test_what_no_filter_touches_is_kept_scaled_or_given_back(base, tuned, batches, rest):
    refined = refine(base, tuned, COLUMNS, batches, rest=rest)
    filtered = {"0.weight", "4.weight"}
    start, end = base.state_dict(), tuned.state_dict()
    assert refined.norm_kept < 0.95  # or "scaled" could not be told from "tuned"
    factor = {"tuned": 1.0, "scaled": refined.norm_kept, "base": 0.0}[rest]
    for name, _ in base.named_parameters():
        if name not in filtered:
            torch.testing.assert_close(refined[name], torch.lerp(start[name], end[name], factor))
            assert factor not in (0.0, 1.0) or torch.equal(refined[name], (start, end)[int(factor)][name])
    for name, _ in base.named_buffers():
        assert torch.equal(refined[name], end[name])
    kept = refine(base, tuned, COLUMNS, batches)
    assert all(torch.equal(refined[name], kept[name]) for name in filtered)
    word = {"tuned": "left as tuned, as", "scaled": f"scaled by {factor:.4g}", "base": "given back"}[rest]
    assert [word in remark and "vectors" in remark for remark in refined.remarks].count(True) == 1


def test_scaled_is_one_number_for_a_constant_response(base, tuned):
    refined = Refiner(base, SpectralConfig(builder="ring"), rest="scaled").apply(
        tuned, [lambda x: torch.full_like(x, 0.4)]
    )
    for name, value in base.named_parameters():
        expected = value + 0.4 * (tuned.get_parameter(name) - value)
        torch.testing.assert_close(refined[name], expected.detach())


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_rest_is_refused(base, tuned):
    with pytest.raises(ValueError, match="did you mean 'scaled'"):
        refine(base, tuned, SpectralConfig(builder="ring"), rest="scale")


@pytest.mark.parametrize("rest", ["tuned", "scaled", "base"])
def test_a_folder_holds_what_apply_gives(tiny_transformer, tmp_path, rest):
    tuned = copy.deepcopy(tiny_transformer)
    with torch.no_grad():
        for value in tuned.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    tiny_transformer.save_pretrained(tmp_path / "base")
    tuned.save_pretrained(tmp_path / "tuned")
    refiner = Refiner(tmp_path / "base", SpectralConfig(builder="ring"), rest=rest)
    applied = refiner.apply(tmp_path / "tuned")
    saved = refiner.save(tmp_path / "tuned", tmp_path / "out")
    assert all(torch.equal(saved[name], applied[name]) for name in saved)
    assert saved.remarks == applied.remarks


def test_a_strength_of_zero_is_the_fine_tune_and_a_large_one_the_base_on_strong_modes(base, tuned, batches):
    refiner = Refiner(base, COLUMNS, batches)
    none = refiner.apply(tuned, [paramgraph.tikhonov(0.0)])
    assert all(torch.equal(none[name], value) for name, value in tuned.state_dict().items())
    all_of_it = refiner.apply(tuned, [paramgraph.tikhonov(1e6)])
    # 28 inputs span all 5 columns: every mode is strong, and 1 / (1 + 1e6 lambda) is below 1e-5.
    np.testing.assert_allclose(all_of_it["0.weight"], base[0].weight.detach(), rtol=0, atol=1e-4)
