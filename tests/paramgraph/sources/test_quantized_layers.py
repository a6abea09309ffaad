"""Quantized layers: what needs no weight is measured as of the dequantized matrix, and nothing is packed anew."""

import copy

import pytest
import torch
from torch import nn

from paramgraph import collect, columns, rows

bitsandbytes = pytest.importorskip("bitsandbytes")

# bitsandbytes says of each product by 8 bits that inputs are rounded; on the CPU its kernels are PyTorch's own.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:bitsandbytes", "ignore:Failed to load CPU gemm_4bit"
)
# 8 bits: inputs are rounded to 2^-7 as well. 4 bits: only weights are, to what `dequantized` reads.
KINDS = {
    "4 bits": ("Linear4bit", {}, 1e-5),
    # As QLoRA with FSDP stores them.
    "4 bits in bfloat16": ("Linear4bit", {"quant_storage": torch.bfloat16}, 1e-5),
    "8 bits": ("Linear8bitLt", {"has_fp16_weights": False}, 0.05),
}
BATCHES = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0)).unbind()


def loss(model, x):
    return model(x).square().mean()


def quantized(kind):
    name, options, _ = KINDS[kind]
    layer = getattr(bitsandbytes.nn, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(64, 96), nn.Tanh(), nn.Linear(96, 8))
    model = nn.Sequential(layer(64, 96, **options), nn.Tanh(), nn.Linear(96, 8))
    model.load_state_dict(plain.state_dict())
    return model.to("cpu").eval()


def dequantized(model):
    """The same model with the numbers that its quantized matrix stands for."""
    layer = model[0]
    plain = nn.Sequential(nn.Linear(64, 96), nn.Tanh(), copy.deepcopy(model[2]))
    if hasattr(layer.weight, "quant_state"):
        weight = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    else:
        held = layer.weight if layer.weight.CB is not None else layer.state
        weight = held.CB.float() * held.SCB[:, None] / 127
    plain[0].weight.data = weight.float().reshape(96, 64).clone()
    plain[0].bias.data = layer.bias.data.float().clone()
    return plain.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["gradients", "activations", "output_gradients"])
def test_features_are_those_of_the_dequantized_layer(kind, source):
    model = quantized(kind)
    plain, tolerance = dequantized(model), KINDS[kind][2]
    options = {"objective": lambda model, x: model(x).sum(dim=-1)} if source == "output_gradients" else {}
    how = {"loss": None if options else loss, "options": options}
    found = collect(model, rows(model), source, BATCHES, **how)["0.weight"]
    expected = collect(plain, rows(plain), source, BATCHES, **how)["0.weight"]
    assert float((found - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_biases_stay_bit_by_bit_as_they_were_stored(kind):
    model = quantized(kind)
    model[0].bias.data = model[0].bias.data.double()  # the layer casts it in place
    stored = {name: (value.data.clone(), value.dtype) for name, value in model.named_parameters()}
    tables = columns(model)
    collect(model, tables, "activations", BATCHES)
    collect(model, tables, "gradients", BATCHES, loss)
    for name, value in model.named_parameters():
        before, dtype = stored[name]
        assert (value.dtype, value.shape) == (dtype, before.shape)
        # As bytes: packed ones may read as NaN.
        assert torch.equal(value.data.view(torch.uint8), before.view(torch.uint8))
    assert not model.training
    assert not model[0].training
    # And what needs the numbers says why there are none, while the others are read.
    told = {}
    assert list(collect(model, tables, "weights", on_failure=told.__setitem__)) == ["2.weight"]
    assert "is quantized" in told["0.weight"]
