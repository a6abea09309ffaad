"""One finished run is one record: what ran, on what, with which result; a line of JSON, written at once."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

PACKAGES = (
    "torch",
    "torch-geometric",
    "transformers",
    "numpy",
    "scipy",
    "scikit-learn",
    "networkx",
    "paramgraph",
)


@dataclass(frozen=True)
class RunRecord:
    """A finished run.

    Parameters
    ----------
    method : str
        Name of the method.
    task : str
        Name of the data set.
    seed : int
        Seed of split, batches and dropout.
    config : dict
        All that was set: learning rate, steps, batch size, the spectral configurations.
    metrics : dict
        What was measured; plain numbers and lists of numbers.
    seconds : float
        Wall-clock time of the run.
    stage : {"tuning", "confirmation", "exploration"}
        What the run was for; only a confirmation may carry a claim.
    versions, hardware : dict
        Filled in from the running machine.
    """

    method: str
    task: str
    seed: int
    config: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    stage: Literal["tuning", "confirmation", "exploration"]
    versions: dict[str, str] = field(default_factory=lambda: versions())
    hardware: dict[str, Any] = field(default_factory=lambda: hardware())


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def hardware() -> dict[str, Any]:
    """Return what the machine is: architecture, processor, cores, torch's threads."""
    import torch

    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def append_record(path: Path, record: RunRecord) -> None:
    """Append `record` to the JSON-lines file `path` and force it to the disk."""
    line = json.dumps(asdict(record), allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _processor() -> str:
    # platform.processor() is empty on most Linux systems.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
