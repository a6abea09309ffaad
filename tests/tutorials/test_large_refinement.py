"""The record of a refinement in less memory than the checkpoint has, and the checkpoints that it is made of."""

import json
from pathlib import Path

import make_large_refinement as script
import pytest
import torch
from transformers import LlamaForCausalLM

RECORD = Path(__file__).parents[2] / script.RECORD


def test_four_gigabytes_were_refined_in_less_than_two_and_a_half() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["checkpoint_bytes"] > 4e9
    assert record["checkpoint_files"] > 4
    assert record["peak_rss_anon_bytes"] < 2.5e9
    assert record["written_bytes"] > 0.999 * record["checkpoint_bytes"]  # headers differ
    assert record["skipped"] == 0
    assert record["norm_kept"] < 1
    assert "in files, block by block: as asked" in record["memory"]
    assert (
        record["largest_difference_of_a_small_one_in_memory"] <= 1e-6
    )  # the rounding of float32 weights below 1


def test_checkpoints_are_models_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "SHARD_BYTES", 20_000)
    for name, shift in (("base", 0.0), ("tuned", 0.02)):
        script.write_checkpoint(tmp_path / name, script.SMALL, seed=0, shift=shift)
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 3
    base, tuned = (LlamaForCausalLM.from_pretrained(tmp_path / name) for name in ("base", "tuned"))
    change = tuned.model.layers[1].mlp.up_proj.weight - base.model.layers[1].mlp.up_proj.weight
    assert (
        0 < float(change.detach().abs().max()) <= 0.01 + 1e-6
    )  # half of the shift, to the rounding of float32
    assert torch.equal(tuned.model.norm.weight, base.model.norm.weight)
