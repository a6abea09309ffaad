import copy

import numpy as np
import pytest
import torch
from torch import nn

import paramgraph
from spectral_opt import Refiner, SpectralConfig, refine

from helpers.configs import preserve_config
from helpers.names import shown

PRESERVE = preserve_config(gamma=0.3)


def perceptron(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 4))


@pytest.fixture
def base():
    return perceptron(0)


@pytest.fixture
def tuned():
    return perceptron(1)


@pytest.fixture
def batches():
    return {"preserve": list(torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0)))}


def test_gram_on_columns_with_tikhonov_is_the_closed_form(base, tuned, batches):
    refined = refine(base, tuned, [PRESERVE], batches)
    x = torch.cat(batches["preserve"]).numpy().astype(np.float64)
    C = x.T @ x
    C = C * len(C) / np.trace(C)
    start = base[0].weight.detach().numpy()
    delta = tuned[0].weight.detach().numpy() - start
    expected = start + delta @ np.linalg.inv(np.eye(5) + 0.3 * C)
    np.testing.assert_allclose(refined["0.weight"].numpy(), expected, rtol=0, atol=1e-5)  # float32 weights


def test_the_identity_gives_tuned_back_bitwise(base, tuned):
    refined = refine(base, tuned, SpectralConfig(builder="ring", response="identity"))
    assert all(torch.equal(refined[name], value) for name, value in tuned.state_dict().items())


@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_a_constant_response_scales_the_delta(base, tuned, strength):
    refined = Refiner(base, SpectralConfig(builder="ring")).apply(
        tuned, [lambda x: torch.full_like(x, strength)]
    )
    expected = base[0].weight + strength * (tuned[0].weight - base[0].weight)
    torch.testing.assert_close(refined["0.weight"], expected.detach())


def test_what_is_not_targeted_is_copied_from_tuned(base, tuned):
    refined = refine(base, tuned, SpectralConfig(builder="ring", targets=["0"]))
    assert list(refined) == list(tuned.state_dict())
    for name, value in tuned.state_dict().items():
        assert torch.equal(refined[name], value) == (name != "0.weight")
        assert refined[name].data_ptr() != value.data_ptr()


def test_base_and_tuned_are_not_changed(base, tuned, batches):
    before = copy.deepcopy((base.state_dict(), tuned.state_dict()))
    refine(base, tuned, [PRESERVE], batches)
    for state, model in zip(before, (base, tuned), strict=True):
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_filters_act_in_order_and_compose(base, tuned):
    rows = SpectralConfig(builder="ring", normalization=None)
    columns = SpectralConfig(builder="ring", normalization=None, scheme="columns")
    both = refine(base, tuned, [rows, columns])
    middle = refine(base, tuned, rows)
    torch.testing.assert_close(both["0.weight"], refine(base, middle, columns)["0.weight"])


def test_a_sweep_builds_no_graph_and_solves_no_eigenproblem(base, tuned, batches, monkeypatch):
    refiner = Refiner(base, [PRESERVE], batches)
    for name in ("paramgraph.filters.design.eigenpairs", "spectral_opt.preparation.preparing.eigenpairs"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("an eigenproblem was solved"))
    for gamma in (0.1, 0.3, 1.0):
        refiner.apply(tuned, [paramgraph.tikhonov(gamma)])


def test_a_sweep_and_single_runs_agree(base, tuned, batches):
    refiner = Refiner(base, [PRESERVE], batches)
    again = refiner.apply(tuned, [paramgraph.tikhonov(0.3)])
    torch.testing.assert_close(again["2.weight"], refiner.apply(tuned)["2.weight"])
    assert not torch.equal(refiner.apply(tuned, [paramgraph.tikhonov(3.0)])["2.weight"], again["2.weight"])


def test_norm_matching_keeps_the_length_of_the_delta(base, tuned):
    config = SpectralConfig(builder="ring", norm_matching=True)
    refined = refine(base, tuned, config)["0.weight"]
    torch.testing.assert_close((refined - base[0].weight).norm(), (tuned[0].weight - base[0].weight).norm())


def test_state_dicts_and_modules_are_the_same_input(base, tuned):
    config = SpectralConfig(builder="ring")
    one, other = refine(base, tuned, config), refine(base, tuned.state_dict(), config)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept(base, tuned, dtype):
    base.to(dtype), tuned.to(dtype)
    refined = refine(base, tuned, SpectralConfig(builder="ring"))
    assert all(value.dtype == dtype for value in refined.values())
    assert not torch.equal(refined["0.weight"], tuned[0].weight)


def test_frozen_models_are_refined_too(base, tuned):
    base.requires_grad_(False)
    assert not torch.equal(refine(base, tuned, SpectralConfig(builder="ring"))["0.weight"], tuned[0].weight)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight


@pytest.mark.parametrize("left_out", [False, True])
def test_tied_names_get_the_same_weight_also_where_files_leave_one_out(left_out):
    base, tuned = Tied(), Tied()
    state = tuned.state_dict()
    if left_out:
        del state["second.weight"]
    refined = refine(base, state, SpectralConfig(builder="ring"))
    assert list(refined) == list(state)
    assert not torch.equal(refined["first.weight"], tuned.first.weight)
    if not left_out:
        assert torch.equal(refined["first.weight"], refined["second.weight"])


def test_local_folders_are_loaded(tiny_transformer, tmp_path):
    tuned = copy.deepcopy(tiny_transformer)
    with torch.no_grad():
        tuned.bert.pooler.dense.weight.add_(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))
    tiny_transformer.save_pretrained(tmp_path / "base")
    tuned.save_pretrained(tmp_path / "tuned")
    config = SpectralConfig(builder="ring", targets=["pooler.dense"])
    found = refine(tmp_path / "base", str(tmp_path / "tuned"), config)
    expected = refine(tiny_transformer, tuned, config)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (nn.Sequential(nn.Linear(5, 9)), "tuned lacks"),
        (nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3)), "shapes differ"),
        (nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 4), nn.Linear(4, 4)), "base lacks"),
    ],
)
def test_two_different_models_raise(base, other, words):
    with pytest.raises(ValueError, match=words):
        refine(base, other, SpectralConfig(builder="ring"))


@pytest.mark.parametrize("fields", [{"response": None}, {"builder": None}], ids=shown)
def test_a_config_without_a_filter_raises(base, tuned, fields):
    with pytest.raises(ValueError, match="response and a builder"):
        refine(base, tuned, SpectralConfig(**fields))


def test_missing_text_raises(base, tuned):
    with pytest.raises(ValueError, match="'preserve'"):
        refine(base, tuned, [PRESERVE])


@pytest.mark.usefixtures("unchecked_types")
def test_other_bad_input_raises(base, tuned, tmp_path):
    config = SpectralConfig(builder="ring")
    with pytest.raises(ValueError, match="at least one"):
        refine(base, tuned, [])
    with pytest.raises(ValueError, match=r"config\.json"):
        refine(tmp_path, tuned, config)
    with pytest.raises(TypeError, match=r"base is a module, .* a folder or a name on the hub; got int"):
        refine(3, tuned, config)
    with pytest.raises(ValueError, match="2 responses for 1"):
        Refiner(base, config).apply(tuned, ["identity", "identity"])
    with pytest.raises(TypeError, match="a list with one response for each config"):
        Refiner(base, config).apply(tuned, "identity")
    with pytest.raises(TypeError, match="a list with one response for each config"):
        Refiner(base, config).apply(tuned, paramgraph.tikhonov(gamma=1.0))


@pytest.mark.parametrize("places", ["memory", "folder"])
def test_two_equal_checkpoints_give_a_copy_and_that_is_said(base, tuned, tmp_path, places):
    config = SpectralConfig(builder="ring", response="heat", response_options={"t": 1.0})
    out = tmp_path / "out" if places == "folder" else None
    refined = refine(base, copy.deepcopy(base), config, out=out)
    assert any("nothing was refined, the result is a copy of tuned" in remark for remark in refined.remarks)
    assert all(torch.equal(refined[name], value) for name, value in base.state_dict().items())
    assert not any("nothing was refined" in remark for remark in refine(base, tuned, config).remarks)
