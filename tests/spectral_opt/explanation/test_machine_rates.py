"""Times of a plan: operations and bytes over rates, and the command that prints them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from paramgraph.checkpoints import open_skeleton
from spectral_opt import SpectralConfig
from spectral_opt.cli.app import main
from spectral_opt.explanation import MachineRates, measure_rates, open_shape, plan_run

SHAPE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "tie_word_embeddings": False,
}
GIVEN = ("--tflops", "2", "--bandwidth", "3", "--link", "4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    return tmp_path


def test_seconds_are_operations_and_bytes_over_rates(folder: Path) -> None:
    plan = plan_run(open_skeleton(folder), SpectralConfig(), ranks=2, sharded=True, tokens=100)
    seconds = MachineRates(2e12, 3e9, 4e9).seconds(plan)
    memory = plan.memory
    assert seconds == pytest.approx(
        {
            "the model": plan.operations["the model"] / 2e12,
            "penalty and filter": plan.operations["penalty and filter"] / 2e12,
            "the optimizer": 2 * (memory["weights"] + memory["gradients"] + memory["optimizer"]) / 3e9,
            "handing over, training": plan.traffic["training"] / 4e9,
            "handing over, spectral": plan.traffic["spectral"] / 4e9,
        },
        rel=1e-12,
    )


def test_one_process_hands_nothing_over(folder: Path) -> None:
    seconds = MachineRates(1.0, 1.0, 1.0).seconds(plan_run(open_skeleton(folder), tokens=1))
    assert not [what for what in seconds if what.startswith("handing over")]


def test_rates_of_this_machine_are_numbers_above_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectral_opt.explanation.machine_rates._ROWS", 64)
    monkeypatch.setattr("spectral_opt.explanation.machine_rates._BYTES", 2**16)
    assert all(rate > 0 for rate in measure_rates("cpu", torch.bfloat16))


@pytest.mark.parametrize("device", ["meta", "cuda:99"])
def test_what_cannot_be_measured_says_what_to_give(device: str) -> None:
    with pytest.raises(ValueError, match="rates"):
        measure_rates(device, torch.float32)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_rates_that_are_none_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="the rate link is a number above 0"):
        MachineRates(1.0, 1.0, rate)


def test_seven_billion_have_seven_billion_parameters() -> None:
    model = open_shape("7B")
    assert sum(value.numel() for value in model.parameters()) == 6_738_415_616  # Llama 2 7B
    assert all(value.is_meta for value in model.parameters())


def test_the_command_prints_what_the_plan_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(folder), *GIVEN, "--ranks", "2", "--sharded", "--tokens", "10", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    plan = plan_run(
        open_skeleton(folder), SpectralConfig(), ranks=2, sharded=True, dtype=torch.bfloat16, tokens=10
    )
    assert printed["bytes_per_rank"] == plan.bytes_per_rank
    assert printed["rates"] == {"operations": 2e12, "bandwidth": 3e9, "link": 4e9}
    assert printed["seconds"] == pytest.approx(MachineRates(2e12, 3e9, 4e9).seconds(plan))


def test_a_config_of_a_file_is_planned_and_plain_has_no_graphs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "columns.json").write_text(SpectralConfig(scheme="columns", penalty=0.0).to_json())
    held = []
    for more in (["--plain"], ["--config", str(folder / "columns.json")]):
        assert main(["plan", str(folder), *GIVEN, "--json", *more]) == 0
        held.append(json.loads(capsys.readouterr().out)["memory"])
    assert held[0]["spectrum"] == held[0]["graph"] == held[0]["start"] == held[1]["start"] == 0
    assert held[1]["spectrum"] > 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--tflops", "0"], "--tflops is a number from 1e-09 to 1e+09, got 0.0"),
        (["--tflops", "nan"], "--tflops is a number from"),
        ([*GIVEN, "--bandwidth", "1e-320", "--json"], "--bandwidth is a number from"),
        ([*GIVEN, "--tflops", "1e300"], "--tflops is a number from"),
        ([*GIVEN, "--tokens", "1" + "0" * 400], "none above 2^53"),
        ([*GIVEN, "--config", "no.json"], "cannot read --config no.json: [Errno 2]"),
        (["--dtype", "int8"], "--dtype"),
        (["--device", "meta"], "give the rates"),
        (["--plain", "--config", "x.json"], "either --plain"),
        (["--device", "cpu", *GIVEN], "leave out one of the three"),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(folder), *more]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"penalti": 1}', "SpectralConfig has no field 'penalti'; did you mean 'penalty'?"),
        (b"\xff\xfe", "'utf-8' codec can't decode"),
        (b"", "this text is not JSON"),
    ],
)
def test_a_config_that_is_none_is_named_with_its_file(
    folder: Path, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "own.json"
    file.write_bytes(content)
    assert main(["plan", str(folder), *GIVEN, "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot read --config {file}: {words}" in line
