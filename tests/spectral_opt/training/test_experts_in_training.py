"""Experts of one stack are trained as the same matrices in layers of their own, at the cost of one stack."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from paramgraph import rows
from spectral_opt import SpectralConfig, attach, explain
from spectral_opt.training import own_parts, own_table

EXPERTS, HIDDEN, INNER = 3, 12, 14


class Experts(nn.Module):
    """Two stacks, as a mixture of experts holds them; nothing here runs."""

    def __init__(self, experts, transposed=False, dtype=torch.float64):
        super().__init__()
        self.is_transposed = transposed
        generator = torch.Generator().manual_seed(0)
        shapes = {"gate_up_proj": (2 * INNER, HIDDEN), "down_proj": (HIDDEN, INNER)}
        for name, shape in shapes.items():
            stored = shape[::-1] if transposed else shape
            values = torch.randn(experts, *stored, generator=generator, dtype=torch.float64).to(dtype)
            setattr(self, name, nn.Parameter(values))


def stacked(experts=EXPERTS, transposed=False, dtype=torch.float64):
    model = nn.Module()
    model.experts = Experts(experts, transposed, dtype)
    return model


def apart(model):
    """The same matrices, each as the weight of a Linear; of a transposed stack, turned."""
    layers = nn.ModuleDict()
    for name, stack in model.experts.named_parameters():
        for expert, matrix in enumerate(stack.detach()):
            matrix = matrix.T if model.experts.is_transposed else matrix
            layer = nn.Linear(*matrix.shape[::-1], bias=False, dtype=matrix.dtype)
            layer.weight = nn.Parameter(matrix.clone())
            layers[f"{name}-{expert}"] = layer
    return layers


def give_equal_gradients(model, layers, step):
    for name, stack in model.experts.named_parameters():
        generator = torch.Generator().manual_seed(step)
        stack.grad = torch.randn(stack.shape, generator=generator, dtype=torch.float64).to(stack.dtype)
        for expert, gradient in enumerate(stack.grad):
            gradient = gradient.T if model.experts.is_transposed else gradient
            layers[f"{name}-{expert}"].weight.grad = gradient.clone()


def difference(model, layers):
    found = apart(model)
    return max(
        float((found[key].weight - layer.weight).detach().abs().max()) for key, layer in layers.items()
    )


CASES = [
    ("gradient", False, {"norm_matching": True}),
    ("gradient, low rank", True, {"filter_method": "lowrank", "rank": 4}),
    ("update", True, {"placement": "update"}),
    ("update, low rank", False, {"placement": "update", "filter_method": "lowrank", "rank": 4}),
    ("basis built anew", True, {"placement": "basis", "refresh": 1}),
    ("decoupled", False, {"placement": None, "penalty": 0.5, "penalty_mode": "decoupled", "ridge": 0.1}),
    ("proximal", True, {"placement": None, "penalty": 500.0, "penalty_mode": "decoupled"}),
    ("columns", True, {"scheme": "columns"}),
    ("blocks", False, {"scheme": "blocks", "builder_options": {"k": 2}}),
    ("entries in the basis", True, {"scheme": "entries", "placement": "basis"}),
]


@pytest.mark.parametrize(("transposed", "own"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_experts_are_trained_as_matrices_apart(transposed, own):
    fields = {"source": "weights", "builder_options": {"k": 3}, "penalty": 0.05} | own
    model = stacked(transposed=transposed)
    layers = apart(model)
    optimizers = [torch.optim.AdamW(each.parameters(), lr=0.01) for each in (model, layers)]
    handles = [
        attach(each, optimizer, SpectralConfig(**fields))
        for each, optimizer in zip((model, layers), optimizers, strict=True)
    ]
    for step in range(2):
        give_equal_gradients(model, layers, step)
        for optimizer in optimizers:
            optimizer.step()
    # The same sums in other orders, some steps of AdamW apart.
    assert difference(model, layers) < 1e-12
    values = [float(handle.penalty()) for handle in handles]
    assert values[0] == pytest.approx(values[1], rel=1e-10)


def test_experts_in_half_precision_are_filtered_as_matrices_apart():
    model = stacked(dtype=torch.bfloat16)
    layers = apart(model)
    for each in (model, layers):
        attach(
            each,
            torch.optim.SGD(each.parameters(), lr=0.5),
            SpectralConfig(builder="ring", placement="update"),
        )
    give_equal_gradients(model, layers, 0)
    # One of them: the hooks of the other are tried elsewhere.
    assert difference(model, layers) == 0


def test_the_loss_of_all_experts_is_differentiated_by_one_stack():
    model = stacked()
    layers = apart(model)
    config = SpectralConfig(builder="ring", penalty_mode="loss", penalty_on="weight", penalty=0.3)
    for each in (model, layers):
        attach(each, torch.optim.SGD(each.parameters(), lr=0.1), config).penalty().backward()
    for name, stack in model.experts.named_parameters():
        expected = torch.stack([layers[f"{name}-{expert}"].weight.grad for expert in range(EXPERTS)])
        torch.testing.assert_close(stack.grad, expected, rtol=1e-12, atol=1e-12)


class CountStacks(TorchDispatchMode):
    """Count the operations that give a tensor as large as a stack, in memory of its own."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes, self.count = sizes, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else [found]:
            held = isinstance(value, torch.Tensor) and value.numel() in self.sizes
            if held and not any(alias.is_write for alias in _aliases(func)) and not _is_view(func):
                self.count += 1
        return found


def _aliases(func):
    return [each.alias_info for each in func._schema.returns if each.alias_info is not None]


def _is_view(func):
    return any(each.alias_info is not None for each in func._schema.returns)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"norm_matching": True},
        {"placement": "update"},
        {"placement": "basis"},
        {"placement": None, "penalty_mode": "decoupled"},
        {"placement": None, "penalty_mode": "loss", "penalty_on": "weight"},
        {"scheme": "layers", "builder": "complete"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())) or "gradient",
)
def test_the_whole_stack_is_touched_as_often_for_many_experts_as_for_few(fields):
    counts = []
    for experts in (5, 7):  # no stack has as many entries as a matrix of the other
        model = stacked(experts)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        handle = attach(model, optimizer, SpectralConfig(**{"builder": "ring", "penalty": 0.1} | fields))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        with CountStacks({parameter.numel() for parameter in model.parameters()}) as counted:
            if fields.get("penalty_mode") == "loss":
                handle.penalty().backward()
            optimizer.step()
        counts.append(counted.count)
    assert counts[0] == counts[1]


def test_an_expert_has_a_table_of_its_matrix_alone():
    model = stacked()
    named = dict(model.named_parameters())
    for table in rows(model).values():
        own, parts = own_table(table), own_parts(table, named)
        assert torch.equal(own.gather(parts), table.gather(named))
        assert parts[table.parameters[0]].shape == own.slices[0].shape
        assert own.names == table.names


def test_the_explanation_counts_each_expert_once_and_tells_them_together():
    model = stacked()
    config = SpectralConfig(builder="ring", placement="update", penalty=0.1)
    found, alone = explain(model, config), explain(apart(model), config)
    assert found.extra_bytes == alone.extra_bytes
    assert "experts.gate_up_proj, 3 experts" in str(found)
    assert len(str(found).splitlines()) < len(str(alone).splitlines())
    small = SpectralConfig(source="weights", builder_options={"k": 13})
    text = str(explain(model, small))
    assert "3 of 3 experts of experts.down_proj" in text


def test_theta_0_of_a_stack_is_copied_once(monkeypatch):
    model = stacked()
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), SpectralConfig(builder="ring"))
    assert set(handle.start) == {"experts.gate_up_proj", "experts.down_proj"}
    before = copy.deepcopy(model.state_dict())
    for name, value in handle.start.items():
        assert torch.equal(value, before[name])
        assert value.data_ptr() != model.get_parameter(name).data_ptr()


def test_frozen_experts_are_told_by_stack():
    model = stacked()
    model.experts.down_proj.requires_grad_(False)
    found = explain(model, SpectralConfig(builder="ring"))
    assert "frozen (requires_grad is False): 3 of 3 experts of experts.down_proj" in str(found)
    assert "not matched" not in str(found)
