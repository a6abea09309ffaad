"""Processes that train one model together, started by torchrun or by a launcher of one's own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

TESTS = Path(__file__).parents[1]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run processes that find this copy of the packages and the helpers, without accelerators."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def launch(command: list[str], out: Path) -> list[dict[str, Any]]:
    """Run processes and read what each rank has written; a rank that failed says so in a text file."""
    done = run(command)
    failures = [path.read_text() for path in sorted(out.glob("*.txt"))]
    assert done.returncode == 0, "\n".join([*failures, done.stderr[-3000:]])
    return [torch.load(path, weights_only=True) for path in sorted(out.glob("rank*.pt"))]


def torchrun(module: str, ranks: int) -> list[str]:
    """Write the command that starts a module on some ranks."""
    # Port 0: the system gives a free one.
    where = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    run = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), *where]
    return [*run, "--module", module]
