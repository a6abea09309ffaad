"""Filters and penalty on the factors of adapters, against NumPy on matrices that are formed here."""

import copy

import numpy as np
import peft
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import paramgraph
from spectral_opt import SpectralConfig, attach


def ring(nodes):
    return 2 * np.eye(nodes) - np.roll(np.eye(nodes), 1, 0) - np.roll(np.eye(nodes), -1, 0)


def stack():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))


def adapted(model=None, adapter=None, kind=peft.LoraConfig, **fields):
    options = {"target_modules": ["0", "2"], "r": 2, "lora_alpha": 6} | fields
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return peft.get_peft_model(
            stack() if model is None else model,
            kind(**options),
            **({"adapter_name": adapter} if adapter else {}),
        )


def ada_lora(model=None):
    return adapted(
        model, kind=peft.AdaLoraConfig, r=8, init_r=3, target_r=2, total_step=10, tinit=1, tfinal=1
    )


def move(model, seed=2, size=0.3):
    """Give every trained parameter another value, as training does."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=source).to(parameter))


def give_gradients(model, seed=3):
    source = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=source).to(parameter)


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def numbers(model):
    return {name: p.detach().double().numpy().copy() for name, p in trained(model).items()}


def factors(values, layer, adapter="default"):
    """B and A of a layer, by the end of its name."""
    ends = f"{layer}.lora_{{}}.{adapter}"
    found = [
        next(v for name, v in values.items() if ends.format(part) in name and "lora_magnitude" not in name)
        for part in "BA"
    ]
    return found


def layer_of(model, name):
    return next(module for at, module in model.named_modules() if at.endswith(f"model.{name}"))


def deltas(model, adapter="default"):
    """The update of each adapted layer as PEFT itself forms it, (out, in)."""
    return {
        name: module.get_delta_weight(adapter).detach().double().numpy()
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }


def config_of(**fields):
    return SpectralConfig(**({"builder": "ring", "normalization": None, "penalty": 0.0} | fields))


def form(delta, scheme, ridge=0.0):
    rows, columns = delta.shape
    value = ridge * (delta**2).sum()
    if scheme in ("rows", "entries"):
        value += np.trace(delta.T @ ring(rows) @ delta)
    if scheme in ("columns", "entries"):
        value += np.trace(delta @ ring(columns) @ delta.T)
    return value


def close(found, expected, rtol=2e-5):
    # Float32 sums over some dozen numbers of size 1.
    np.testing.assert_allclose(np.asarray(found, dtype=float), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("scheme", ["rows", "columns", "entries", "blocks", "layers"])
def test_the_row_graph_filters_the_left_factors_gradient_and_the_column_graph_the_right_ones(scheme):
    model = adapted()
    move(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    attach(model, optimizer, config_of(scheme=scheme))
    give_gradients(model)
    before, gradients = numbers(model), {n: p.grad.double().numpy().copy() for n, p in trained(model).items()}
    optimizer.step()
    after = numbers(model)
    for layer in ("0", "2"):
        dB, dA = factors(gradients, layer)
        (B0, A0), (B1, A1) = factors(before, layer), factors(after, layer)
        close(B0 - B1, np.linalg.solve(np.eye(len(dB)) + ring(len(dB)), dB))
        close(A0 - A1, np.linalg.solve(np.eye(dA.shape[1]) + ring(dA.shape[1]), dA.T).T)


def test_the_filter_of_a_step_is_h_of_the_graph_of_the_frozen_layers_gradients(
    tiny_transformer, tiny_batches
):
    config = peft.LoraConfig(target_modules=["query", "intermediate.dense"], r=3, task_type="SEQ_CLS")
    model = peft.get_peft_model(tiny_transformer, config)
    move(model, size=0.05)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    spectral = SpectralConfig(
        builder_options={"k": 3}, response="heat", response_options={"t": 2.0}, penalty=0.0
    )
    target = "encoder.layer.1.intermediate.dense"
    expected = {}
    for scheme in ("rows", "columns"):
        table = next(t for k, t in paramgraph.node_tables(model, scheme).items() if target in k)
        graph = paramgraph.build(
            model, table, "cosine_knn", source="gradients", batches=tiny_batches[:3], k=3
        )
        values, U = np.linalg.eigh(paramgraph.laplacian(graph).to_dense())
        expected[scheme] = (U * np.exp(-2.0 * values)) @ U.T
    attach(model, optimizer, spectral, batches=tiny_batches[:3])
    model(**tiny_batches[4]).loss.backward()
    before, gradients = numbers(model), {n: p.grad.double().numpy().copy() for n, p in trained(model).items()}
    optimizer.step()
    (B0, A0), (B1, A1), (dB, dA) = (factors(v, target) for v in (before, numbers(model), gradients))
    assert np.abs(dB).max() > 1e-5 < np.abs(dA).max()
    # The difference of two float32 parameters of size 0.1 holds 1e-8 of each.
    np.testing.assert_allclose(B0 - B1, expected["rows"] @ dB, atol=3e-8)
    np.testing.assert_allclose(A0 - A1, dA @ expected["columns"], atol=3e-8)


@pytest.mark.parametrize("placement", ["update", "basis"])
def test_the_other_placements_act_on_what_the_optimizer_does_to_each_factor(placement):
    model = adapted()
    move(model)
    plain = copy.deepcopy(model)
    for other in (model, plain):
        give_gradients(other)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)
    attach(model, optimizer, config_of(placement=placement))
    before = numbers(model)
    optimizer.step()
    torch.optim.SGD(plain.parameters(), lr=0.5, weight_decay=0.1).step()
    for layer in ("0", "2"):
        (B0, A0), (B1, A1), (B2, A2) = (factors(v, layer) for v in (before, numbers(model), numbers(plain)))
        close(B1 - B0, np.linalg.solve(np.eye(len(B0)) + ring(len(B0)), B2 - B0))
        nodes = A0.shape[1]
        close((A1 - A0).T, np.linalg.solve(np.eye(nodes) + ring(nodes), (A2 - A0).T))


@pytest.mark.parametrize("scheme", ["rows", "columns", "entries"])
@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"alpha_pattern": {"0": 20}}, {"use_dora": True}]
)
def test_the_penalty_is_that_of_the_update_as_peft_forms_it(scheme, options):
    model = adapted(**options)
    handle = attach(
        model, torch.optim.SGD(model.parameters(), lr=0.1), config_of(scheme=scheme, penalty=0.3, ridge=0.2)
    )
    vectors = [p for name, p in trained(model).items() if "magnitude" in name]
    starts = [p.detach().clone() for p in vectors]
    assert float(handle.penalty()) == 0.0
    move(model)
    expected = sum(form(delta, scheme, ridge=0.2) for delta in deltas(model).values())
    for vector, start in zip(vectors, starts, strict=True):  # a magnitude is a signal of width 1 on the rows
        expected += form((vector - start).detach().double().numpy()[:, None], "rows", ridge=0.2)
    close(handle.penalty(), 0.3 * expected)


@pytest.mark.parametrize("make", [adapted, ada_lora], ids=["lora", "adalora"])
@pytest.mark.parametrize("scheme", ["rows", "columns", "entries"])
def test_the_gradient_that_is_added_is_autograds_of_the_penalty(make, scheme):
    fields = {"scheme": scheme, "penalty": 0.3, "ridge": 0.2, "response": None}
    by_loss, by_gradient = make(), make()
    handle = attach(
        by_loss, torch.optim.SGD(by_loss.parameters(), lr=1.0), config_of(penalty_mode="loss", **fields)
    )
    optimizer = torch.optim.SGD(by_gradient.parameters(), lr=1.0)
    attach(by_gradient, optimizer, config_of(**fields))
    for model in (by_loss, by_gradient):
        move(model)
    handle.penalty().backward()
    before = numbers(by_gradient)
    for parameter in trained(by_gradient).values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = numbers(by_gradient)
    for name, parameter in trained(by_loss).items():
        expected = np.zeros_like(after[name]) if parameter.grad is None else parameter.grad.numpy()
        close(before[name] - after[name], expected, rtol=1e-4)
        assert "lora" not in name or np.abs(expected).max() > 1e-3


def test_the_penalty_of_adalora_is_that_of_its_three_factors():
    model = ada_lora()
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config_of(penalty=0.3))
    assert float(handle.penalty()) == 0.0
    move(model)
    close(handle.penalty(), 0.3 * sum(form(delta, "rows") for delta in deltas(model).values()))
    for module in model.modules():  # as its rank allocator does
        if hasattr(module, "ranknum"):
            module.ranknum["default"].fill_(2.0)
    close(handle.penalty(), 0.3 * sum(form(delta, "rows") for delta in deltas(model).values()))


@pytest.mark.parametrize("scheme", ["rows", "columns", "entries"])
def test_an_adapter_that_starts_elsewhere_is_penalized_for_its_way_from_there(scheme):
    model = adapted(init_lora_weights="pissa")
    start = deltas(model)
    assert all(np.abs(delta).max() > 0.1 for delta in start.values())
    fields = {"scheme": scheme, "penalty": 0.3, "ridge": 0.1, "response": None}
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config_of(**fields))
    assert float(handle.penalty()) == 0.0
    move(model)
    found = deltas(model)
    expected = sum(form(found[name] - start[name], scheme, ridge=0.1) for name in start)
    close(handle.penalty(), 0.3 * expected)


@pytest.mark.parametrize("learning_rate", [0.1, 3.0], ids=["explicit", "proximal"])
@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_the_decoupled_step_is_that_of_the_whole_update(scheme, learning_rate):
    model = adapted()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    attach(
        model,
        optimizer,
        config_of(scheme=scheme, penalty=0.5, ridge=0.1, penalty_mode="decoupled", response=None),
    )
    move(model)
    before = deltas(model)
    for parameter in trained(model).values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, delta in deltas(model).items():
        start = before[name] if scheme == "rows" else before[name].T
        operator = ring(len(start)) + 0.1 * np.eye(len(start))
        step = 2 * learning_rate * 0.5 * operator
        # lambda_max of a ring is at most 4, and 2 x 0.1 x 0.5 x 4.1 < 1.
        explicit = start - step @ start
        expected = explicit if learning_rate == 0.1 else np.linalg.solve(np.eye(len(start)) + step, start)
        close(delta if scheme == "rows" else delta.T, expected)


def test_a_decoupled_penalty_on_an_adapter_that_starts_elsewhere_is_refused_before_any_work():
    model = adapted(init_lora_weights="pissa")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def never(model, batch):
        raise AssertionError

    config = SpectralConfig(penalty=0.1, penalty_mode="decoupled")
    with pytest.raises(ValueError, match="does not start at zero"):
        attach(model, optimizer, config, batches=[torch.ones(1, 6)], loss=never)
    assert not optimizer._optimizer_step_pre_hooks


def test_a_scaled_gradient_gets_a_scaled_penalty():
    model = adapted()
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=1.0), config_of(penalty=0.3))
    table = next(t for t in handle._steps.tables if "0.lora_B" in t.name)
    move(model)
    found = []
    for scale in (None, torch.tensor([8.0])):
        for parameter in trained(model).values():
            parameter.grad = torch.zeros_like(parameter)
        with torch.no_grad():
            table.add_penalty_gradient_(handle.start, scale)
        found.append(layer_of(model, "0").lora_A["default"].weight.grad.clone())
    torch.testing.assert_close(found[1], 8 * found[0])
    assert found[0].abs().max() > 0


def test_a_frozen_partner_keeps_no_gradient():
    model = adapted()
    A = layer_of(model, "0").lora_A["default"].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, config_of(penalty=0.3))
    move(model)
    give_gradients(model)
    before = A.clone()
    optimizer.step()
    assert A.grad is None
    assert torch.equal(A, before)
    assert float(handle.penalty()) > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_factors_get_the_filter_and_the_penalty_of_wide_ones(dtype):
    narrow = adapted(stack().to(dtype)).to(dtype)
    config = config_of(penalty=0.3)
    optimizer = torch.optim.SGD(narrow.parameters(), lr=0.1)
    handle = attach(narrow, optimizer, config)
    move(narrow)
    expected = 0.0
    values = numbers(narrow)
    for layer in ("0", "2"):
        B, A = factors(values, layer)
        expected += form(3.0 * B @ A, "rows")
    close(handle.penalty(), 0.3 * expected, rtol=1e-5)  # sums in float32
    give_gradients(narrow)
    optimizer.step()
    assert all(p.dtype == dtype and torch.isfinite(p).all() for p in trained(narrow).values())


@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_transposed_layers_have_their_output_features_as_rows(scheme):
    config = GPT2Config(
        vocab_size=40, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = GPT2LMHeadModel(config)
    model = adapted(base, target_modules=["c_attn"], fan_in_fan_out=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    handle = attach(model, optimizer, config_of(scheme=scheme, penalty=0.3))
    move(model)
    (delta,) = deltas(model).values()
    assert delta.shape == (8, 24)  # as Conv1D stores it
    close(handle.penalty(), 0.3 * form(delta.T, scheme))
    handle.remove()
    attach(model, optimizer, config_of(scheme=scheme))
    give_gradients(model)
    before, gradients = numbers(model), {n: p.grad.double().numpy().copy() for n, p in trained(model).items()}
    optimizer.step()
    (B0, A0), (B1, A1), (dB, dA) = (factors(v, "c_attn") for v in (before, numbers(model), gradients))
    close(B0 - B1, np.linalg.solve(np.eye(24) + ring(24), dB))
    close((A0 - A1).T, np.linalg.solve(np.eye(8) + ring(8), dA.T))


def test_layers_that_share_a_frozen_weight_keep_their_own_adapters():
    base = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Linear(6, 6, bias=False))
    base[2].weight = base[0].weight
    model = adapted(base)
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config_of(penalty=0.3))
    assert len(handle.explanation.tables) == 4
    move(model)
    close(handle.penalty(), 0.3 * sum(form(delta, "rows") for delta in deltas(model).values()))


def test_no_copy_of_a_frozen_weight_or_of_a_factor_is_kept():
    model = adapted()
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config_of(penalty=0.3))
    assert all(".lora_" in name for name in handle.start)
    assert sum(value.untyped_storage().nbytes() for value in handle.start.values()) == 4 * len(handle.start)
