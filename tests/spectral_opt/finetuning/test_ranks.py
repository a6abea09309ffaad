"""The command on several ranks: the run of one process, whichever launcher starts them, and whichever rank ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from spectral_opt.finetuning import FineTuneOptions, finetune

from helpers.launches import TESTS, torchrun

pytestmark = pytest.mark.slow  # each rank imports torch, transformers and PEFT anew

ACCELERATE = ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"]
LAUNCHERS = {
    "torchrun": torchrun("helpers.rank_finetuned", 2),
    # --multi_gpu is how this launcher starts several processes.
    "accelerate": [
        *ACCELERATE,
        "--num_machines",
        "1",
        "--main_process_port",
        "0",
        "--module",
        "helpers.rank_finetuned",
    ],
}
SHARDED = ["fsdp=true"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, decoder: Path, data: Path) -> FineTuneOptions:
    """Ask for four steps of eight blocks, within the first pass, as ranks fill up its last batch with blocks again.

    There is no dropout, which ranks draw for themselves.
    """
    model = tmp_path_factory.mktemp("model") / "llama"
    shutil.copytree(decoder, model)
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace('"attention_dropout": 0.1', '"attention_dropout": 0.0'))
    texts = {"model": str(model), "data": str(data / "plain.jsonl"), "task": "causal-lm", "max_length": 16}
    # Steps in proportion to gradients: AdamW makes of the rounding of the smallest ones whole steps.
    steps = {"learning_rate": 0.1, "trainer": {"optim": "sgd"}}
    return FineTuneOptions(**texts, **steps, max_steps=4, evaluate_every=2, batch_size=8)


def start(asked: FineTuneOptions, launcher: str, out: Path, *more: str) -> subprocess.Popen[str]:
    """Start two ranks of four blocks each."""
    line = ["--model", asked.model, "--data", asked.data, "--task", asked.task, "--max-length", "16"]
    line += ["--max-steps", "4", "--evaluate-every", "2", "--batch-size", "4", "--learning-rate", "0.1"]
    line += ["--out", str(out), "--trainer", *more]
    pids = out.with_name(f"{out.name}-pids")
    pids.mkdir(exist_ok=True)
    environment = {**os.environ, "PIDS": str(pids), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    command = [sys.executable, *LAUNCHERS[launcher], *line]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen[str]) -> None:
    _, told = process.communicate(timeout=240)
    assert process.returncode == 0, told[-3000:]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(out).named_parameters())


@pytest.mark.parametrize(
    ("launcher", "more"),
    [("torchrun", ["optim=sgd"]), ("accelerate", ["optim=sgd"]), ("torchrun", ["optim=sgd", *SHARDED])],
)
def test_two_ranks_train_as_one_process_does(asked, tmp_path, launcher, more):
    finished(start(asked, launcher, tmp_path / "two", *more))
    alone = finetune(asked, tmp_path / "one")
    expected, found = weights(alone.folder), weights(tmp_path / "two")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)  # sums over ranks are rounded in another order
    # Tied weights once, also where they were gathered from shards.
    files = [load_file(out / "model.safetensors") for out in (tmp_path / "two", alone.folder)]
    assert files[0].keys() == files[1].keys()
    start_of = AutoModelForCausalLM.from_pretrained(asked.model).state_dict()
    assert not torch.allclose(start_of["model.norm.weight"], expected["model.norm.weight"], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("launcher", "more"), [("torchrun", SHARDED), ("accelerate", ["optim=adamw_torch"])])
def test_a_run_whose_rank_is_killed_goes_on_bitwise(asked, tmp_path, launcher, more):
    more = [*more, "--spectral", "l2sp", "--spectral-options", "strength=10.0"]
    finished(start(asked, launcher, tmp_path / "whole", *more))
    killed = start(asked, launcher, tmp_path / "killed", *more)
    while killed.poll() is None and not (tmp_path / "killed/checkpoints/checkpoint-2/whole.json").exists():
        time.sleep(0.001)
    os.kill(int((tmp_path / "killed-pids" / "1").read_text()), signal.SIGKILL)
    _, told = killed.communicate(timeout=240)
    assert killed.returncode != 0
    assert "SIGKILL" in told
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    finished(start(asked, launcher, tmp_path / "killed", *more))
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert "went on from step" in (tmp_path / "killed" / "run.json").read_text()
