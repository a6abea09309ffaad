"""What a run would do and need, before anything is trained or even loaded."""

import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from safetensors.torch import load_file

from spectral_opt.cli import main
from spectral_opt.finetuning import FineTuneOptions, plan_shapes, preview, read_options


@pytest.fixture
def asked(encoder, data) -> FineTuneOptions:
    return FineTuneOptions(
        model=str(encoder), data=str(data / "reviews.csv"), task="classification", max_steps=4, max_length=16
    )


def test_a_preview_trains_and_writes_nothing(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = preview(replace(asked, spectral="l2sp", spectral_options={"strength": 1.0}))
    assert found.facts["steps"] == "4"
    assert "million weights need" in found.facts["memory"]
    assert "no graph: L = 0" in found.explanation
    assert found.plan.memory["optimizer"] == 2 * found.plan.memory["gradients"]
    assert not list(tmp_path.iterdir())


def test_a_note_of_filters_and_memory_is_told_once(encoder, data, tmp_path, capsys):
    line = [
        "--model",
        encoder,
        "--data",
        data / "reviews.csv",
        "--task",
        "classification",
        "--spectral",
        "fit",
    ]
    assert main(["finetune", *map(str, line), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    notes = [told for told in capsys.readouterr().out.splitlines() if told.startswith("note: ")]
    assert any("inside optimizer.step()" in note for note in notes)
    assert len(notes) == len(set(notes))


def test_a_preview_says_what_becomes_of_the_folder(decoder, finished_options, finished_folder, tmp_path):
    there = finished_options
    before = sorted(finished_folder.rglob("*"))
    assert (
        preview(there, finished_folder).facts["folder"].endswith("which is finished: it would only be read")
    )
    assert sorted(finished_folder.rglob("*")) == before
    facts = preview(there, tmp_path / "new").facts
    assert facts["folder"].endswith("which begins anew")
    entries = sum(value.numel() for value in load_file(decoder / "model.safetensors").values())
    # One checkpoint, with two moments, and the model.
    assert f"1 checkpoints at a time and the model need {16 * entries / 1e9:.2g} GB" in facts["disk"]
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="holds a run with other options: learning_rate"):
        preview(replace(there, learning_rate=1e-3), finished_folder)
    (tmp_path / "cut").mkdir()
    shutil.copytree(finished_folder, tmp_path / "cut", dirs_exist_ok=True)
    (tmp_path / "cut" / "model.safetensors").unlink()
    assert preview(there, tmp_path / "cut").facts["folder"].endswith("which goes on from checkpoint-1")


def test_options_of_a_file_and_of_the_line_are_put_together(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: m\ndata: d\ntask: causal-lm\nseed: 3\ntrainer: {warmup_steps: 5, weight_decay: 1.0}\n"
    )
    found = read_options({"seed": 4, "trainer": {"weight_decay": 0.5}}, file)
    assert found.seed == 4
    assert found.trainer == {"warmup_steps": 5, "weight_decay": 0.5}


def test_the_memory_is_that_of_the_optimizer(asked, encoder, monkeypatch):
    entries = sum(value.numel() for value in load_file(encoder / "model.safetensors").values())
    # Weights and gradients, and no moments.
    monkeypatch.setattr("spectral_opt.finetuning._memory.available_bytes", lambda: 10 * entries)
    assert preview(replace(asked, trainer={"optim": "sgd"})).facts["steps"] == "4"
    with pytest.raises(ValueError, match="not enough memory"):
        preview(asked)


def test_needs_are_those_of_the_revision_that_is_asked_for(asked, encoder, monkeypatch):
    found = []

    def download(name, revision, **_):
        found.append((name, revision))
        return str(encoder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr("spectral_opt.finetuning._memory.available_bytes", lambda: 0)
    there = replace(asked, model="owner/name", revision="v2")
    plan_shapes(there)
    with pytest.raises(ValueError, match="not enough memory"):
        preview(there)
    assert found == [("owner/name", "v2")] * 2
    with pytest.raises(ValueError, match="is not on the hub: it would be ignored"):
        plan_shapes(replace(asked, revision="v2"))


def test_a_plan_counts_the_tokens_of_its_task(decoder):
    shapes = FineTuneOptions(model=str(decoder), data="nowhere", task="instruction")
    assert plan_shapes(shapes).operations == plan_shapes(replace(shapes, max_length=1024)).operations


def test_a_plan_is_made_of_the_config_alone(asked, decoder, tmp_path):
    shutil.copy(decoder / "config.json", tmp_path)
    shapes = replace(asked, model=str(tmp_path), data="nowhere", task="causal-lm")
    entries = sum(value.numel() for value in load_file(Path(decoder, "model.safetensors")).values())
    plan = plan_shapes(shapes)
    assert plan.memory["gradients"] == 4 * entries
    assert plan.memory["optimizer"] == 8 * entries
    assert plan_shapes(shapes, ranks=2, sharded=True).memory["gradients"] == 2 * entries
    adapted = plan_shapes(replace(shapes, peft="lora", peft_options={"r": 1}), ranks=2)
    assert 0 < adapted.memory["gradients"] < entries


def test_a_plan_refuses_what_an_adapter_cannot_do_as_the_run_does(asked, decoder):
    prefix = {"peft": "prefix_tuning", "peft_options": {"num_virtual_tokens": 2}}
    shapes = replace(asked, model=str(decoder), data="nowhere", task="causal-lm", **prefix)
    with pytest.raises(ValueError, match="gradient_checkpointing runs each layer twice"):
        plan_shapes(replace(shapes, gradient_checkpointing=True))
    projected = {"num_virtual_tokens": 2, "prefix_projection": True}
    with pytest.raises(ValueError, match="no checkpoint can be taken up"):
        plan_shapes(replace(shapes, peft_options=projected, patience=2))
