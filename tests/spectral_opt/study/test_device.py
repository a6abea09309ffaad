"""Cells on another device than the CPU: all that meets lies there, and numbers are those of the CPU."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spectral_opt.study import (
    AfterGrid,
    MethodGrid,
    get_method,
    list_after_training,
    list_methods,
    open_device,
    run_job,
)
from spectral_opt.study.scheduling import run_study

from helpers.device_spy import SpyTensor, spied_device
from helpers.study_settings import tiny_language_setting, tiny_plan, tiny_setting

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # torch 2.13.0, of autocast that is turned off.
    pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda':UserWarning"),
]
RATE = {"learning_rate": (1e-3,)}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    monkeypatch.setattr("spectral_opt.study.running.open_device", torch.device)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a spy")
    # The generator of a device that is none.
    monkeypatch.setattr(
        "spectral_opt.study.fine_tuning.own_randomness", lambda device: torch.random.fork_rng(devices=[])
    )
    with spied_device() as device:
        yield device


def records(monkeypatch: pytest.MonkeyPatch, method: MethodGrid, device: str, **more: Any) -> dict[str, Any]:
    """Run a method and filters after it, on classes, or on the tokens of a `language` model."""

    def opened(plan: Any, job: Any, device: torch.device) -> Any:
        made = tiny_language_setting() if more.get("language") else tiny_setting(layers=1, with_earlier=True)
        if device.type != "cpu":
            made.place(device)
        return made

    monkeypatch.setattr("spectral_opt.study.running.open_setting", opened)
    part = replace(tiny_plan().parts[0], methods=(method,), after=more.get("after", ()), evaluate_every=3)
    plan, found = tiny_plan(part), {}
    run_job(
        plan,
        plan.jobs()[0],
        on_record=lambda cell, record: found.update({cell.key: record}),
        device=device,
    )
    return found


def check_same(found: dict[str, Any], here: dict[str, Any]) -> None:
    assert found.keys() == here.keys()
    for key, record in found.items():
        assert record.status == "finished"
        assert record.hardware["device"] == "cuda (a spy)"
        assert "device" not in here[key].hardware
        for name in ("points", "start", "bands"):
            check_equal(f"{key}: {name}", record.metrics.get(name), here[key].metrics.get(name))


def check_equal(name: str, found: Any, here: Any) -> None:
    """Compare values of JSON; what has a branch for accelerators rounds otherwise, by some bits of float32."""
    if isinstance(here, dict):
        assert found.keys() == here.keys(), name
        for key, value in here.items():
            check_equal(f"{name}.{key}", found[key], value)
    elif isinstance(here, list):
        assert len(found) == len(here), name
        for place, value in enumerate(here):
            check_equal(f"{name}.{place}", found[place], value)
    else:
        assert found == (pytest.approx(here, rel=1e-4, abs=1e-5) if isinstance(here, float) else here), name


def test_the_spy_refuses_what_an_accelerator_would() -> None:
    with spied_device() as device:
        X = torch.ones(2, 3).to(device)
        assert isinstance(X, SpyTensor)
        assert (X + 1).device == device
        with pytest.raises(RuntimeError, match=r"a tensor of the CPU, .* meets the device's"):
            X + torch.ones(2, 3)
        assert torch.equal((X @ X.T).cpu(), torch.full((2, 2), 3.0))


def test_a_method_and_a_filter_lie_where_the_device_is(
    there: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = MethodGrid("spectral_both", RATE)
    after = tuple(AfterGrid(name, ("spectral_both",)) for name in ("product", "contrast"))
    found, here = (records(monkeypatch, method, device, after=after) for device in (str(there), "cpu"))
    check_same(found, here)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_methods())
def test_each_method_lies_where_the_device_is(
    name: str, there: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = records(
        monkeypatch, MethodGrid(name, RATE if get_method(name).trains else {}), str(there)
    ).values()
    assert (record.status, record.hardware["device"]) == ("finished", "cuda (a spy)")


@pytest.mark.slow
@pytest.mark.parametrize("name", list_after_training())
def test_each_filter_lies_where_the_device_is(
    name: str, there: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = (AfterGrid(name, ("adamw",)),)
    check_same(
        *(
            records(monkeypatch, MethodGrid("adamw", RATE), device, after=after)
            for device in (str(there), "cpu")
        )
    )


@pytest.mark.slow
def test_a_language_model_lies_where_the_device_is(
    there: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = (AfterGrid("product", ("distillation",)),)
    check_same(
        *(
            records(monkeypatch, MethodGrid("distillation", RATE), device, after=after, language=True)
            for device in (str(there), "cpu")
        )
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuda:9", "device is 'cuda:9', and there is none; there is cpu"),
        (
            "tpu of mine",
            "device is 'tpu of mine', on which nothing can be computed: take cpu, or an accelerator",
        ),
        ("meta", "device is 'meta', on which nothing can be computed"),
        ("mps", "no float64"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_device(name)


@pytest.mark.parametrize("name", ["tpu of mine", "meta", "mps"])
def test_what_no_worker_can_have_is_refused_before_a_scheduler_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectral_opt.study.scheduling.run.dask_workers", None)
    with pytest.raises(ValueError, match=f"device is '{name}'"):
        run_study(tmp_path, tiny_plan(), scheduler="tcp://127.0.0.1:9", device=name)


def test_the_cpu_is_always_there() -> None:
    assert open_device("cpu") == torch.device("cpu")
