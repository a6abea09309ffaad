"""Graphs and filters built by processes: what this process builds, bit by bit, also where a worker dies."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paramgraph import CosineKNN
from spectral_opt import SpectralConfig, attach, prepare, refine
from spectral_opt.integrations import SpectralCallback
from spectral_opt.preparation import PreparedTable, table_tensors

from helpers.backwards_workers import Backwards, put_backwards
from helpers.mortal_builder import MortalBuilder

WIDTHS = (6, 9, 7, 8)
BATCHES = list(torch.randn(6, 5, 6, generator=torch.Generator().manual_seed(0)))
KNN: dict[str, Any] = {"builder": "cosine_knn", "builder_options": {"k": 3}, "penalty": 0.1}
HEAT: dict[str, Any] = {**KNN, "source": "weights", "response": "heat", "response_options": {"t": 1.0}}
IN_COMMON = "graphs that tables have in common, and filters of these, were made by this process"
CONFIGS = {
    "exact": SpectralConfig(**HEAT),
    "solve": SpectralConfig(**KNN, source="weights", response="tikhonov", filter_method="solve"),
    "lowrank": SpectralConfig(**HEAT | {"source": "gradients"}, filter_method="lowrank", rank=3),
    "basis": SpectralConfig(**HEAT, placement="basis"),
    "entries": SpectralConfig(**HEAT, scheme="entries"),
    "measured": SpectralConfig.preserve(1.0, batches="task"),
    "shared": SpectralConfig.preserve(1.0, energy=None, batches="task"),
}


def perceptron() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(WIDTHS)))


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch).square().mean()


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> type[Backwards]:
    return put_backwards(monkeypatch, "1.weight")


def check_same(found: Sequence[PreparedTable], alone: Sequence[PreparedTable]) -> None:
    """Compare all but what was measured in seconds, and what is said of workers."""
    assert [each.table for each in found] == [each.table for each in alone]
    for one, other in zip(found, alone, strict=True):
        assert (one.reason, one.edges, one.components) == (other.reason, other.edges, other.components)
        tensors, expected = table_tensors(one), table_tensors(other)
        assert tensors.keys() - {"remarks"} == expected.keys() - {"remarks"}
        assert all(torch.equal(tensors[name], expected[name]) for name in expected if name != "remarks")
        if other.filter is not None:
            assert one.filter is not None
            signal = torch.randn(other.table.shape, generator=torch.Generator().manual_seed(1))
            assert torch.equal(one.filter(signal), other.filter(signal))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_processes_build_what_one_builds(config: SpectralConfig, backwards: type[Backwards]) -> None:
    alone = prepare(perceptron(), config, BATCHES, loss)
    backwards.deaths = 2
    found = prepare(perceptron(), config, BATCHES, loss, workers=2)
    check_same(found, alone)
    told = found[0].remarks[len(alone[0].remarks) :]
    if config == CONFIGS["shared"]:
        assert told == (IN_COMMON,)
    else:
        assert told[0].startswith("Graphs were built by 2 processes of one thread: each needs up to 0.5 GB")
        assert told[1:] == ("A worker died (process 7, signal 9) at 1.weight.",) * 2
    assert backwards.stopped == 1


def test_eigenpairs_that_are_kept_come_along(backwards: type[Backwards]) -> None:
    config = CONFIGS["exact"]
    alone, found = (
        prepare(perceptron(), config, keep_spectra=True, **more)[0].spectrum for more in ({}, {"workers": 2})
    )
    assert found is not None
    assert alone is not None
    assert torch.equal(found.eigenvectors, alone.eigenvectors)


@pytest.mark.parametrize("name", ["exact", "entries", "measured"])
def test_a_table_that_kills_its_workers_is_left_alone_by_name(name: str, backwards: type[Backwards]) -> None:
    backwards.deaths = 3
    found = {
        each.table.group: each for each in prepare(perceptron(), CONFIGS[name], BATCHES, loss, workers=2)
    }
    reason = "given up after 3 tries, the last worker died: process 7, signal 9"
    assert {key: each.reason for key, each in found.items() if each.left_alone} == {"1.weight": reason}


def test_refined_weights_are_those_of_one_process(backwards: type[Backwards]) -> None:
    base, tuned = perceptron(), perceptron()
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 0.1 * parameter.roll(1, 0)
    alone, found = (
        refine(base, tuned, "preserve", {"preserve": BATCHES}, **more) for more in ({}, {"workers": 2})
    )
    assert all(torch.equal(found[name], alone[name]) for name in alone)
    assert any(line.startswith("Graphs were built by 2 processes") for line in found.remarks)
    assert not any("process" in line for line in alone.remarks)


@pytest.mark.parametrize(
    "config",
    [SpectralConfig.preserve(1.0, graph="columns"), SpectralConfig.preserve(1.0, energy=None)],
    ids=["columns", "product"],
)
def test_graphs_that_no_worker_builds_are_told(config: SpectralConfig, backwards: type[Backwards]) -> None:
    base, tuned = perceptron(), perceptron()
    with torch.no_grad():
        tuned[0].weight += 0.1
    alone, found = (
        refine(base, tuned, [config], {"preserve": BATCHES}, **more) for more in ({}, {"workers": 2})
    )
    assert set(found.remarks) - set(alone.remarks) == {IN_COMMON}
    penalty = replace(CONFIGS["shared"], response=None, placement=None, penalty=0.1)
    assert IN_COMMON in prepare(perceptron(), penalty, BATCHES, loss, workers=2)[0].remarks


def test_what_is_attached_says_who_built_it(backwards: type[Backwards]) -> None:
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with attach(model, optimizer, CONFIGS["exact"], workers=2) as handle:
        assert "note: Graphs were built by 2 processes of one thread: each needs" in str(handle.explanation)


def attached(model: nn.Module, **options: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    config = options.pop("config", CONFIGS["exact"])
    attach(model, optimizer, config, **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"workers": 0}, ValueError, "attach: workers must be at least 1"),
        ({"memory_budget": 10**9}, ValueError, "memory_budget bounds the processes of workers"),
        (
            {"workers": 2, "memory_budget": 10**8},
            ValueError,
            "is 100,000,000 bytes, and one process needs up to 450.* for the largest layer, '0.weight'",
        ),
        ({"workers": 2, "client": object()}, ValueError, "either workers.*or client"),
        ({"client": "tcp://127.0.0.1:9"}, TypeError, "client is a distributed.Client, .* got str"),
        (
            {
                "workers": 2,
                "config": SpectralConfig(builder=lambda data: CosineKNN(k=3)(data), source="weights"),
            },
            TypeError,
            "a config with the builder .* cannot be sent to another process",
        ),
        (
            {"workers": 2, "config": SpectralConfig.l2sp(1.0)},
            ValueError,
            "no config has a builder, so workers",
        ),
        ({"workers": 2, "prepared": ()}, ValueError, "prepared has the graphs, so workers.*leave them out"),
    ],
)
def test_what_cannot_go_well_is_refused_before_any_graph(
    options: Mapping[str, Any], error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectral_opt.hooks.prepare_on_ranks", None)
    with pytest.raises(error, match=words):
        attached(perceptron(), **options)


def test_workers_beside_moments_are_refused() -> None:
    with pytest.raises(ValueError, match="moments has the graphs"):
        refine(perceptron(), perceptron(), "preserve", moments="moments.safetensors", workers=2)


def test_a_callback_refuses_workers_before_training() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1"):
        SpectralCallback(CONFIGS["exact"], workers=0)
    with pytest.raises(ValueError, match="no config has a builder"):
        SpectralCallback(SpectralConfig.l2sp(1.0), workers=2)


@pytest.mark.slow  # each process loads torch and PyG, 4 s on an idle core
def test_real_processes_build_what_one_builds_though_one_is_killed(tmp_path: Path) -> None:
    # One thread each, and here too: sums of several threads round otherwise.
    alone, found = (
        prepare(
            perceptron(),
            SpectralConfig(**HEAT | {"builder": MortalBuilder(tmp_path, 7, deaths), "builder_options": {}}),
            **more,
        )
        for deaths, more in ((0, {}), (1, {"workers": 2}))
    )
    check_same(found, alone)
    assert any("signal 9) at 1.weight" in line for line in found[0].remarks)
