"""Cells of a study on an accelerator; run by `make test-gpu`."""

from dataclasses import replace

import pytest

from spectral_opt.study import AfterGrid, MethodGrid, list_after_training, run_job

from helpers.study_settings import tiny_plan, tiny_setting

pytestmark = pytest.mark.gpu
RATE = {"learning_rate": (1e-3,)}


@pytest.mark.parametrize("name", ["adamw", "spectral_both", "preserve_product", "distillation", "ewc", "gpm"])
def test_cells_on_the_device_are_those_of_the_cpu_but_for_rounding(name, monkeypatch):
    def opened(plan, job, device):
        made = tiny_setting(layers=1, dropout=0.0)  # generators of a device draw other numbers
        made.place(device)
        return made

    monkeypatch.setattr("spectral_opt.study.running.open_setting", opened)
    after = tuple(AfterGrid(filtered, (name,)) for filtered in list_after_training())
    plan = tiny_plan(replace(tiny_plan().parts[0], methods=(MethodGrid(name, RATE),), after=after))
    found = {}
    for device in ("cpu", "cuda"):
        run_job(
            plan,
            plan.jobs()[0],
            on_record=lambda cell, record, where=device: found.update({(where, cell.key): record}),
            device=device,
        )
    for (device, key), record in found.items():
        here = found["cpu", key]
        assert record.hardware.get("device", "cpu").startswith(device)
        for point, expected in zip(record.metrics["points"], here.metrics["points"], strict=True):
            for score in ("accuracy", "auc", "loss", "lost", "drift"):
                # What `verify` takes for the same on another device.
                assert point[score] == pytest.approx(expected[score], rel=0.05, abs=0.05), (key, score)
