"""What a number was measured with: versions, hardware, and the memory that the process has used."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
    """List the versions of Python and of the packages that decide a result.

    Returns
    -------
    dict of str to str
        Name and version.

    Examples
    --------
    >>> "torch" in versions()
    True
    """
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def hardware() -> dict[str, Any]:
    """Describe the machine.

    Returns
    -------
    dict
        Architecture, processor, cores, torch's threads, operating system.

    Examples
    --------
    >>> hardware()["cores"] >= 1
    True
    """
    import torch

    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def peak_megabytes() -> float | None:
    """Read the largest resident memory that the process has had since it began.

    Returns
    -------
    float or None
        In units of 10**6 bytes; None where the system does not say.

    Examples
    --------
    >>> (peak_megabytes() or 1.0) > 0
    True
    """
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
