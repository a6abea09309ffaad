"""Refinement of stacks of experts: as that of the same matrices one by one."""

import pytest
import torch
from torch import nn

from paramgraph.nodes import node_tables
from spectral_opt import Refiner, SpectralConfig, refine

EXPERTS, WIDTH, INNER = 3, 6, 4
RING = SpectralConfig(builder="ring", source="weights")


class Stacked(nn.Module):
    """Stacks as transformers keeps them, (experts, out, in) or (experts, in, out)."""

    def __init__(self, transposed=False):
        super().__init__()
        self.is_transposed = transposed
        shapes = {"gate_up": (2 * INNER, WIDTH), "down": (WIDTH, INNER)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.empty(EXPERTS, *(shape[::-1] if transposed else shape))))


class Separate(nn.Module):
    """The same matrices, each in a layer of its own."""

    def __init__(self):
        super().__init__()
        self.gate_up = nn.ModuleList(nn.Linear(WIDTH, 2 * INNER, bias=False) for _ in range(EXPERTS))
        self.down = nn.ModuleList(nn.Linear(INNER, WIDTH, bias=False) for _ in range(EXPERTS))


def pair(seed, transposed=False):
    """Give stacks and layers with the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    separate, stacked = Separate(), Stacked(transposed)
    with torch.no_grad():
        for name in ("gate_up", "down"):
            for expert, layer in enumerate(getattr(separate, name)):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
                value = layer.weight.T if transposed else layer.weight
                getattr(stacked, name)[expert].copy_(value)
    return nn.ModuleDict({"experts": stacked}), nn.ModuleDict({"experts": separate})


def stacked_names(state, transposed):
    """Put the matrices of layers into stacks."""
    return {
        f"experts.{name}": torch.stack(
            [
                state[f"experts.{name}.{expert}.weight"].T
                if transposed
                else state[f"experts.{name}.{expert}.weight"]
                for expert in range(EXPERTS)
            ]
        )
        for name in ("gate_up", "down")
    }


@pytest.mark.parametrize(
    ("scheme", "transposed"),
    # Blocks are counted as they are stored, so that a ring of them is another one where they are turned.
    [
        ("rows", False),
        ("rows", True),
        ("columns", False),
        ("columns", True),
        ("entries", False),
        ("entries", True),
        ("blocks", False),
    ],
)
@pytest.mark.parametrize("norm_matching", [False, True])
def test_experts_are_refined_as_layers_are(scheme, transposed, norm_matching):
    config = SpectralConfig(builder="ring", source="weights", scheme=scheme, norm_matching=norm_matching)
    (base, base_layers), (tuned, tuned_layers) = pair(0, transposed), pair(1, transposed)
    before = {name: value.clone() for name, value in tuned.state_dict().items()}
    found = refine(base, tuned, config)
    expected = refine(base_layers, tuned_layers, config)
    for name, value in stacked_names(expected, transposed).items():
        assert not torch.equal(found[name], before[name])
        torch.testing.assert_close(found[name], value)
    assert found.norm_kept == pytest.approx(expected.norm_kept)
    assert all(torch.equal(value, before[name]) for name, value in tuned.state_dict().items())


def test_two_configs_are_those_of_layers():
    configs = [RING, SpectralConfig(builder="ring", source="weights", scheme="columns")]
    (base, base_layers), (tuned, tuned_layers) = pair(0), pair(1)
    found, expected = refine(base, tuned, configs), refine(base_layers, tuned_layers, configs)
    for name, value in stacked_names(expected, False).items():
        torch.testing.assert_close(found[name], value)


def test_tables_over_all_experts_are_those_of_layers():
    """Tables of scheme "layers" join the experts of a stack, which are then filtered together."""
    config = SpectralConfig(builder="ring", source="weights", scheme="layers")
    (base, _), (tuned, _) = pair(0), pair(1)
    (table,) = [each for each in node_tables(base, "layers").values() if "down" in each.group]
    found = refine(base, tuned, config)["experts.down"]
    matrices = {
        name: torch.stack([model.experts.down.detach()[expert].reshape(-1) for expert in range(EXPERTS)])
        for name, model in (("base", base), ("tuned", tuned))
    }
    assert table.shape == matrices["base"].shape
    # A ring of three nodes: every two are joined, L = I - (J - I) / 2 has the eigenvalues 0, 3/2, 3/2.
    delta = matrices["tuned"] - matrices["base"]
    mean = delta.mean(dim=0, keepdim=True)
    expected = matrices["base"] + mean + (delta - mean) / (1 + 1.5)
    torch.testing.assert_close(found.reshape(EXPERTS, -1), expected)


@pytest.mark.parametrize("rest", ["tuned", "scaled", "base"])
def test_one_expert_that_cannot_be_filtered_is_left_alone(rest):
    (base, _), (tuned, _) = pair(0), pair(1)
    whole = refine(base, tuned, RING)
    with torch.no_grad():
        tuned.experts.down[1, 0, 0] = float("inf")
    refined = refine(base, tuned, RING, rest=rest)
    assert list(refined.skipped) == ["experts.down[1]"]
    assert torch.equal(refined["experts.gate_up"], whole["experts.gate_up"])
    for expert in (0, 2):
        assert torch.equal(refined["experts.down"][expert], whole["experts.down"][expert])
    factor = {"tuned": 1.0, "scaled": refined.norm_kept, "base": 0.0}[rest]
    row = torch.lerp(base.experts.down[1, 1], tuned.experts.down[1, 1], factor)
    torch.testing.assert_close(refined["experts.down"][1, 1], row.detach())
    assert any("experts.down[1]" in remark for remark in refined.remarks)


def test_experts_that_are_left_out_stay_as_tuned():
    (base, _), (tuned, _) = pair(0), pair(1)
    config = SpectralConfig(builder="ring", source="weights", targets=["experts.down[2]"])
    refined, whole = refine(base, tuned, config), refine(base, tuned, RING)
    assert torch.equal(refined["experts.down"][2], whole["experts.down"][2])
    assert torch.equal(refined["experts.down"][:2], tuned.experts.down[:2])
    assert torch.equal(refined["experts.gate_up"], tuned.experts.gate_up)


def test_a_stack_costs_a_stack_and_not_one_for_each_expert(monkeypatch):
    """No zeros of the whole stack are made for an expert, of which the scatter of its table would be full."""
    (base, _), (tuned, _) = pair(0), pair(1)
    refiner = Refiner(base, RING)
    sizes = []
    whole = torch.Tensor.new_zeros

    def counted(self, *size, **kwargs):
        made = whole(self, *size, **kwargs)
        sizes.append(made.numel())
        return made

    monkeypatch.setattr(torch.Tensor, "new_zeros", counted)
    refiner.apply(tuned)
    assert max(sizes, default=0) <= 2 * INNER * WIDTH
