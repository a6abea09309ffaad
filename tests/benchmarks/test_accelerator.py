"""What a machine with an accelerator would measure, in its smallest size on the CPU."""

import pytest
import torch

from benchmarks import accelerator

TINY = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def test_steps_are_measured_beside_plain_ones() -> None:
    fields = accelerator.CASES["filter and penalty"] | {"rank": 4}
    found = accelerator.measure_steps(TINY, "cpu", torch.bfloat16, fields, pairs=2, length=8)
    assert found["tables"] == 7
    assert found["added share"]["pairs"] == 2
    assert found["waits for the device"] == "not asked"


def test_a_graph_is_the_same_wherever_its_features_lie() -> None:
    assert list(accelerator.build_graph("cpu", 40, 12)) == ["seconds, features on cpu"]


def test_without_an_accelerator_nothing_is_claimed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["accelerator", "--record", "nowhere.json"])
    accelerator.main()
    assert capsys.readouterr().out == "no accelerator here: nothing was measured, and nothing is claimed\n"
