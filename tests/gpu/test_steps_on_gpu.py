"""Steps of parameters that lie on an accelerator; run by `make test-gpu`."""

import copy
from typing import Any

import pytest
import torch

from spectral_opt import SpectralConfig, attach

from benchmarks.accelerator import capture_step, compile_filter

pytestmark = pytest.mark.gpu

CASES: dict[str, dict[str, Any]] = {
    "lowrank": {"filter_method": "lowrank", "rank": 4, "penalty": 0.1},
    "exact": {"filter_method": "exact", "penalty": 0.0},
    "chebyshev": {
        "filter_method": "chebyshev",
        "response": "heat",
        "response_options": {"t": 1.0},
        "penalty": 0.0,
    },
    "columns": {"scheme": "columns", "penalty": 0.1},
    "update": {"placement": "update", "penalty": 0.1, "penalty_mode": "decoupled"},
    "proximal": {"response": None, "penalty": 100.0, "penalty_mode": "decoupled"},
    "basis": {"placement": "basis", "penalty": 0.0},
}


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_steps_are_those_of_the_cpu_and_wait_for_nothing(tiny_transformer, fields):
    config = SpectralConfig(source="weights", builder_options={"k": 3}, **fields)
    here, there = tiny_transformer.double(), copy.deepcopy(tiny_transformer).double().cuda()
    source = torch.Generator().manual_seed(0)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (here, there)]
    for model, optimizer in zip((here, there), optimizers, strict=True):
        attach(model, optimizer, config)
    for turn in range(3):
        for one, other in zip(here.parameters(), there.parameters(), strict=True):
            one.grad = torch.randn(one.shape, dtype=one.dtype, generator=source)
            other.grad = one.grad.cuda()
        optimizers[0].step()
        torch.cuda.synchronize()
        # The first step brings graphs and filters to the device.
        torch.cuda.set_sync_debug_mode("error" if turn else "default")
        try:
            optimizers[1].step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        # Float64 sums in another order.
        torch.testing.assert_close(other.cpu(), one, rtol=0, atol=1e-9)


def test_a_step_is_captured_in_a_cuda_graph():
    assert capture_step() == "captured; its replays are the steps"


def test_a_filter_is_compiled_in_one_piece():
    assert compile_filter("cuda", "eager") == "compiled in one piece"
