"""What a number was measured with: versions, hardware, and the memory that the process has used."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

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


def versions() -> dict[str, str]:
    """List the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def hardware() -> dict[str, str | int | None]:
    """Describe the machine: architecture, processor, cores, torch's threads, operating system."""
    import torch

    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def peak_megabytes() -> float | None:
    """Read the largest resident memory that the process has had, in 10**6 bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, units of 1,024 bytes elsewhere.
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6


def _processor() -> str:
    # platform.processor() is empty on most Linux systems.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
