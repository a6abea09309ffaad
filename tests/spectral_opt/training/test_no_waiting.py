"""A step asks nothing of an accelerator that would have to be waited for.

On the meta device tensors have no numbers: reading one there raises. It takes the way of every device but the CPU, so
that what a step does to an accelerator can be counted where there is none: what is read, and what is copied to it. Its
sparse matrices cannot be multiplied, and dense ones of their shape stand for them.
"""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spectral_opt import SpectralConfig, attach
from spectral_opt.preparation import PreparedTable, prepare

READING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Traffic(TorchDispatchMode):
    """List what reads a number of a tensor, and what moves a tensor from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # A number in a tensor without dimensions goes to a kernel as its argument.
        devices = {
            leaf.device.type
            for leaf in tree_leaves((args, kwargs, result))
            if isinstance(leaf, Tensor) and leaf.ndim
        }
        if len(devices) > 1 or READING & set(func.tags):
            self.found.append(str(func))
        return result


@pytest.fixture(autouse=True)
def _dense_stands_for_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(matrix: Any, device: Any, dtype: Any, layout: str) -> Tensor:
        return torch.empty(matrix.shape, dtype=dtype, device=device)

    for place in ("paramgraph.spectra.shift_operator", "spectral_opt.training._in_place"):
        monkeypatch.setattr(f"{place}.sparse_tensor", made)


@pytest.fixture(autouse=True)
def _what_meta_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what `attach` reads once of Theta_0, and autocast, which the device does not know."""
    monkeypatch.setattr(
        "spectral_opt.training.handle.checksum", lambda tensors: torch.zeros(32, dtype=torch.uint8)
    )
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())


def traffic_of_a_step(
    model: nn.Module,
    config: SpectralConfig,
    batches: Sequence[Any],
    rate: float = 0.1,
    prepared: tuple[PreparedTable, ...] | None = None,
) -> list[str]:
    """Count in the second step: the first one brings graphs and filters to the device."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ready = prepare(model, config, batches, parameters=trained) if prepared is None else prepared
    assert not any(table.left_alone for table in ready)
    there = copy.deepcopy(model).to("meta")
    moved = [parameter for parameter in there.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(moved, lr=rate)
    attach(there, optimizer, config, batches=batches, prepared=[ready])
    for parameter in moved:
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    with Traffic() as traffic:
        optimizer.step()
    return traffic.found


@pytest.fixture
def model(tiny_transformer: nn.Module) -> nn.Module:
    tiny_transformer.requires_grad_(False)
    for name, parameter in tiny_transformer.named_parameters():
        parameter.requires_grad_("layer.0.attention.self.query" in name or "layer.0.output.dense" in name)
    return tiny_transformer


FILTERS: dict[str, dict[str, Any]] = {
    "lowrank": {"filter_method": "lowrank", "rank": 4},
    "exact": {"filter_method": "exact"},
    "chebyshev": {"filter_method": "chebyshev", "response": "heat", "response_options": {"t": 1.0}},
    "norm_matching": {"norm_matching": True},
    "columns": {"scheme": "columns"},
    "gram": {"builder": "gram", "shift": "adjacency"},
}
PENALTIES: dict[str, dict[str, Any]] = {
    "gradient": {"penalty": 0.1},
    "on weights": {"penalty": 0.1, "penalty_on": "weight"},
    "columns": {"penalty": 0.1, "scheme": "columns"},
    "decoupled": {"penalty": 0.1, "penalty_mode": "decoupled"},
    "proximal": {"penalty": 4.0, "penalty_mode": "decoupled"},
    "proximal, dense": {
        "penalty": 100.0,
        "penalty_mode": "decoupled",
        "builder": "gram",
        "shift": "adjacency",
    },
    "proximal, no graph": {"penalty": 100.0, "penalty_mode": "decoupled", "builder": None, "ridge": 1.0},
    "entries": {"penalty": 0.1, "scheme": "entries"},
    "proximal, entries": {"penalty": 4.0, "scheme": "entries", "penalty_mode": "decoupled"},
}
COMMON: dict[str, Any] = {"source": "weights", "builder_options": {"k": 3}}


def made(fields: dict[str, Any], **more: Any) -> SpectralConfig:
    chosen = COMMON | fields | more
    if chosen.get("builder", "cosine_knn") not in ("cosine_knn",):
        chosen.pop("builder_options")
    if not chosen.get("builder", "cosine_knn"):
        chosen.pop("source")
    return SpectralConfig(**chosen)


@pytest.mark.parametrize("placement", ["gradient", "update"])
@pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
def test_a_filter_neither_reads_nor_copies(
    model: nn.Module, tiny_batches: list[Any], fields: dict[str, Any], placement: str
) -> None:
    config = made(fields, placement=placement, penalty=0.0)
    assert traffic_of_a_step(model, config, tiny_batches[:1]) == []


@pytest.mark.parametrize("fields", PENALTIES.values(), ids=PENALTIES)
def test_a_penalty_neither_reads_nor_copies(
    model: nn.Module, tiny_batches: list[Any], fields: dict[str, Any]
) -> None:
    assert traffic_of_a_step(model, made(fields, response=None), tiny_batches[:1]) == []


@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_a_step_in_the_basis_neither_reads_nor_copies(
    model: nn.Module, tiny_batches: list[Any], scheme: str
) -> None:
    config = made({"scheme": scheme}, placement="basis", penalty=0.0)
    assert traffic_of_a_step(model, config, tiny_batches[:1]) == []


@pytest.mark.parametrize("placement", ["gradient", "update"])
def test_filter_and_penalty_of_half_precision_neither_read_nor_copy(
    model: nn.Module, tiny_batches: list[Any], placement: str
) -> None:
    config = made({"penalty": 0.1, "ridge": 0.1}, placement=placement)
    assert traffic_of_a_step(model.to(torch.bfloat16), config, tiny_batches[:1]) == []


@pytest.mark.parametrize("graph", ["product", "columns", "rows"])
def test_the_preserving_filter_neither_reads_nor_copies(
    model: nn.Module, tiny_batches: list[Any], graph: str
) -> None:
    config = replace(SpectralConfig.preserve(strength=1.0, graph=graph), batches="task")
    assert traffic_of_a_step(model, config, tiny_batches) == []


def test_factors_of_an_adapter_are_neither_read_nor_copied(
    lora_transformer: nn.Module, tiny_batches: list[Any]
) -> None:
    config = made({"penalty": 0.1, "targets": ["query"]})
    assert traffic_of_a_step(lora_transformer, config, tiny_batches[:1]) == []


def test_what_reads_and_what_copies_is_found() -> None:
    there = torch.ones(3, device="meta")
    with Traffic() as traffic:
        torch.ones(3).to("meta") + there
        torch.ones(2).sum().item()
        torch.ones(2).nonzero()
    assert traffic.found == [
        "aten._to_copy.default",
        "aten._local_scalar_dense.default",
        "aten.nonzero.default",
    ]
