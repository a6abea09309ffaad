"""Memory of LoRA r8 with filter and penalty, on a causal LM of SmolLM2's shape, as shares of a plain run's."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.adapter_memory import STATUS, measure
from benchmarks.contest import Contest, Profile

LAYERS = 30
# Shares of the plain run's memory, and of the time of a plain step.
MOST = {"at attach": 1.10, "in a step": 1.05, "time in the hooks": 0.04}


def contests(profile: Profile) -> Iterator[Contest]:
    """Give one run in a process of its own, of few layers for a brief look; the smallest here, without adapters."""
    is_linux = STATUS.exists() and sys.platform == "linux"
    layers = {"smallest": 1, "brief": 4, "full": LAYERS}[profile]

    def run() -> dict[str, float]:
        if profile == "smallest":
            shape = {"vocab_size": 64, "hidden_size": 36, "intermediate_size": 48}
            return measure(layers, shape, adapted=False) if is_linux else {}
        command = [sys.executable, "-m", "benchmarks.adapter_memory", str(layers)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    def check(found: Mapping[str, dict[str, float]]) -> dict[str, float]:
        shares = found["paramgraph"] if is_linux else {}
        assert not is_linux or all(value > 0 for value in shares.values())
        return shares | {f"goal, {name}": most for name, most in MOST.items()}

    left_out = {} if is_linux else {"memory": "only Linux counts the largest resident size anew"}
    yield Contest(
        "memory of LoRA r8", {"layers": layers}, {"paramgraph": run}, check, turns=0, left_out=left_out
    )
