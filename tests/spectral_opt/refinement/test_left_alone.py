"""One odd layer is left alone, named with its reason, and the rest is refined."""

import copy
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from spectral_opt import Refiner, SpectralConfig, refine

RING = SpectralConfig(builder="ring", source="weights")
COLUMNS = SpectralConfig.preserve(0.3, graph="columns")


class Block(nn.Module):
    """Two layers beside each other, as every block of a transformer has them."""

    def __init__(self, width=6):
        super().__init__()
        self.up, self.down = nn.Linear(4, width), nn.Linear(width, 4)

    def forward(self, x):
        return x + self.down(torch.tanh(self.up(x)))


def network(*widths):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*map(Block, widths)).eval()


def moved(model):
    generator = torch.Generator().manual_seed(1)
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        for value in tuned.parameters():
            value.add_(torch.randn(value.shape, generator=generator))
    return tuned


@pytest.fixture
def base():
    return network(6, 6, 6)


@pytest.fixture
def tuned(base):
    return moved(base)


@pytest.fixture
def batches():
    return {"preserve": list(torch.randn(8, 7, 4, generator=torch.Generator().manual_seed(0)))}


def expected_of(refined, whole, tuned, left):
    """All as if nothing were odd, and what is left alone as tuned."""
    return all(torch.equal(refined[name], tuned[name] if name in left else whole[name]) for name in refined)


def test_a_lazy_layer_has_no_weight_to_refine_and_the_others_have(base, tuned):
    whole = refine(base, tuned, RING)
    base.later, tuned.later = nn.LazyLinear(3), nn.LazyLinear(3)
    refined = refine(base, tuned, RING)
    assert list(refined) == list(whole)
    assert expected_of(refined, whole, tuned.state_dict(), ())
    assert "not in the result, as they have no value yet: later.weight, later.bias" in refined.remarks


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["base", "tuned"])
def test_a_delta_that_is_not_finite_is_left_as_tuned_and_named(base, tuned, number, side):
    whole = refine(base, tuned, RING)
    with torch.no_grad():
        {"base": base, "tuned": tuned}[side][1].up.weight[0, 0] = number
    refined = refine(base, tuned, RING)
    assert torch.equal(refined.pop("1.up.weight").nan_to_num(), tuned[1].up.weight.nan_to_num())
    assert all(torch.equal(value, whole[name]) for name, value in refined.items())
    assert list(refined.skipped) == ["1.up.weight"]
    assert "not finite" in refined.skipped["1.up.weight"]
    assert any("not finite" in remark and "1.up.weight" in remark for remark in refined.remarks)
    assert refined.norm_kept == refined.norm_kept


def test_what_is_left_alone_follows_the_rest(base, tuned):
    with torch.no_grad():
        tuned[1].up.weight[0, 0] = float("nan")
    back = refine(base, tuned, RING, rest="base")
    assert torch.equal(back["1.up.weight"], base[1].up.weight)
    scaled = refine(base, tuned, RING, rest="scaled")
    expected = torch.lerp(base[1].up.weight[1], tuned[1].up.weight[1], scaled.norm_kept)
    assert 0 < scaled.norm_kept < 1
    torch.testing.assert_close(scaled["1.up.weight"][1], expected.detach())


def test_nothing_left_is_one_error_with_the_reasons(base, tuned):
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"nothing can be filtered: .*not finite"):
        refine(base, tuned, RING)


def test_nothing_is_written_where_nothing_is_left(base, tuned, tmp_path):
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ValueError, match="nothing can be filtered"):
        refine(base, tuned, RING, out=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("change", ["shape", "base only", "tuned only"])
def test_a_layer_that_only_one_checkpoint_has_so_is_left_alone(base, tuned, change):
    whole, state = refine(base, tuned, RING), tuned.state_dict()
    if change == "shape":
        state |= {
            "1.up.weight": torch.ones(5, 4),
            "1.up.bias": torch.ones(5),
            "1.down.weight": torch.ones(4, 5),
        }
        left = {"1.up.weight", "1.up.bias", "1.down.weight"}
    elif change == "base only":
        left = {"1.up.weight", "1.up.bias"}
        state = {name: value for name, value in state.items() if name not in left}
    else:
        left = {"2.gate.weight"}
        state["2.gate.weight"] = torch.ones(3, 4)
    refined = refine(base, state, RING)
    assert list(refined) == list(state)
    assert expected_of(refined, whole, state, left)
    assert any("1.up.weight" in remark or "2.gate.weight" in remark for remark in refined.remarks)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: network(6, 6), "tuned lacks"),
        (lambda: network(6, 6, 6, 6), "base lacks"),
        (lambda: network(5, 5, 5), "shapes differ"),
        (lambda: network(6, 5, 5), "shapes differ"),
    ],
)
def test_other_depths_and_sizes_are_other_models(base, other, words):
    with pytest.raises(ValueError, match=words):
        refine(base, other(), RING)


def test_inputs_of_zero_leave_a_table_alone(base, tuned, batches):
    with torch.no_grad():
        for model in (base, tuned):
            model[0].up.weight.zero_(), model[0].up.bias.zero_()
        tuned[0].up.weight += 1e-3
        tuned[0].down.weight += 1.0
    refiner = Refiner(base, COLUMNS, batches)
    refined = refiner.apply(tuned)
    assert list(refined.skipped) == ["0.down.weight"]
    assert "inputs are zero" in refined.skipped["0.down.weight"]
    assert torch.equal(refined["0.down.weight"], tuned[0].down.weight)
    assert not torch.equal(refined["1.down.weight"], tuned[1].down.weight)
    null = refiner.null("permuted", 0).apply(tuned)
    assert null.skipped == refined.skipped


class Uncalled(Block):
    """A block with a layer that nothing calls."""

    def __init__(self, width=6):
        super().__init__(width)
        self.idle = nn.Linear(4, 4)


@pytest.mark.parametrize("graph", ["columns", "rows", "product"])
def test_a_layer_that_is_never_called_is_left_alone(batches, graph):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = nn.Sequential(Block(), Uncalled()).eval()
    tuned = moved(base)
    config = SpectralConfig.preserve(0.3, graph=graph)
    refined = refine(base, tuned, config, batches)
    assert list(refined.skipped) == ["1.idle.weight"]
    assert "called" in refined.skipped["1.idle.weight"]
    assert any("1.idle.weight" in remark and "called" in remark for remark in refined.remarks)
    without = refine(base, tuned, replace(config, exclude=["idle"]), batches)
    assert all(torch.equal(value, without[name]) for name, value in refined.items())
    with pytest.raises(ValueError, match="called"):
        refine(base, tuned, replace(config, targets=["idle"]), batches)


def test_moments_tell_what_was_left_alone(base, tuned, batches, tmp_path):
    with torch.no_grad():
        base[0].up.weight.zero_(), base[0].up.bias.zero_()
    refiner = Refiner(base, COLUMNS, batches)
    refiner.write_moments(tmp_path / "moments")
    again = Refiner(base, COLUMNS, moments=tmp_path / "moments").apply(tuned)
    first = refiner.apply(tuned)
    assert again.skipped == first.skipped != {}
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_an_adapter_that_has_learned_nothing_beside_a_layer_left_alone_is_unchanged(batches):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = nn.Sequential(Block(), Uncalled()).eval()
        wrapped = get_peft_model(copy.deepcopy(base), LoraConfig(r=2, target_modules=["up", "idle"]))
    refined = refine(base, wrapped, COLUMNS, batches)
    assert refined.form == "adapter"
    assert list(refined.skipped) == ["1.idle.weight"]
    assert any("nothing was refined" in remark for remark in refined.remarks)
