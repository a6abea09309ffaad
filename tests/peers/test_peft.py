"""PEFT's own adapters beside filter and penalty: OSF, and LoRA as PEFT merges it."""

import copy

import peft
import pytest
import torch
from torch import nn

import paramgraph
from spectral_opt import SpectralConfig, attach, filter_gradients

RANK = 3


def stack():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8))


def strong_modes_out(values):
    """The response that removes the RANK strongest modes of a Gram matrix, as OSF removes singular directions."""
    return (values < values.sort(descending=True).values[RANK - 1]).double()


@pytest.mark.parametrize("layer", ["0", "2"])
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_osf_projects_gradients_as_the_high_pass_on_the_gram_matrix_of_the_weights(layer, side):
    base = stack()
    graph = paramgraph.build(
        base, paramgraph.node_tables(base, side)[f"{layer}.weight"], "gram", source="weights"
    )
    model = peft.get_peft_model(base, peft.OSFConfig(target_modules=["0", "2"], effective_rank=RANK))
    found = []
    for hooked in (True, False):
        one = copy.deepcopy(model)
        module = one.base_model.model[int(layer)]
        module._detach_hooks()
        if hooked:
            module._attach_hooks("default")
        one(torch.ones(3, 6) + torch.arange(6.0)).square().sum().backward()
        trained = module.osf_svd_params["default"]
        found.append(trained["U_low"].grad if side == "rows" else trained["V_low"].grad.T)
    projected, gradient = found
    operator = paramgraph.adjacency(graph)
    ours = filter_gradients({"w": gradient}, {"w": operator}, strong_modes_out)["w"]
    # The float32 SVD of PEFT.
    torch.testing.assert_close(ours, projected, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
    assert (gradient - projected).norm() > 1e-2 * gradient.norm()


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_the_same_filter_keeps_a_whole_layer_off_osfs_frozen_directions(side):
    model = stack()
    U, _, V = torch.linalg.svd(model[2].weight.detach())
    config = SpectralConfig(
        builder="gram",
        source="weights",
        shift="adjacency",
        scheme=side,
        targets=["2"],
        response=strong_modes_out,
        penalty=0.0,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(model, optimizer, config)
    before = model[2].weight.detach().clone()
    for step in range(4):
        optimizer.zero_grad()
        model(torch.randn(5, 6, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
    moved = model[2].weight.detach() - before
    frozen = U[:, :RANK].T @ moved if side == "rows" else moved @ V[:RANK].T
    # Rounding of float32 parameters of size 0.3 in each of 4 steps.
    assert frozen.abs().max() < 1e-6
    assert moved.norm() > 1e-2


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_the_penalty_of_an_adapter_is_that_of_the_merged_model_on_its_delta(side):
    config = SpectralConfig(
        builder="cosine_knn",
        builder_options={"k": 3},
        source="weights",
        scheme=side,
        penalty=0.7,
        ridge=0.1,
    )
    whole = stack()
    full = attach(whole, torch.optim.SGD(whole.parameters(), lr=0.1), config)
    lora = peft.LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights="gaussian")
    model = peft.get_peft_model(stack(), lora)
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=source))
    penalty = handle.penalty()
    whole.load_state_dict(model.merge_and_unload().state_dict())
    torch.testing.assert_close(penalty, full.penalty(), rtol=1e-4, atol=0)  # float32 weights hold the delta


def test_the_ridge_alone_is_l2_sp_on_the_update():
    lora = peft.LoraConfig(target_modules=["0", "2"], r=2, lora_alpha=6)
    model = peft.get_peft_model(stack(), lora)
    config = SpectralConfig(builder=None, ridge=1.0, penalty=0.5)
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=source))
    layers = [module for module in model.modules() if isinstance(module, peft.tuners.lora.LoraLayer)]
    expected = sum(layer.get_delta_weight("default").square().sum() for layer in layers)
    torch.testing.assert_close(handle.penalty(), 0.5 * expected.detach())
