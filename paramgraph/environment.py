"""What a number was measured with: versions, hardware, memory; and what installed packages bring, or a bare checkout.

A checkout that is only on the path has no metadata: its version is that of the source, and its entry points are those
of its pyproject.toml, so that it does what the installed package does.
"""

import importlib.metadata
import os
import platform
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PackageNotFoundError
from pathlib import Path, PurePosixPath

import paramgraph

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
# What a user may have beside them, and what then often decides an error.
BESIDE = ("peft", "trl", "accelerate", "datasets", "lightning", "bitsandbytes", "sentence-transformers")
CHECKOUT = Path(__file__).parents[1] / "pyproject.toml"


def versions() -> dict[str, str]:
    """List the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **{name: _version(name) or "unknown" for name in PACKAGES}}


def versions_beside() -> dict[str, str]:
    """List the versions of packages that are not needed, and are there."""
    return {name: found for name in BESIDE if (found := _version(name))}


def entry_points(group: str) -> Iterator[EntryPoint]:
    """Yield the entry points of a group, of installed packages and of this checkout where it is not installed."""
    yield from importlib.metadata.entry_points(group=group)
    if _metadata_version("paramgraph") or not CHECKOUT.is_file():
        return
    stated = tomllib.loads(CHECKOUT.read_text(encoding="utf-8")).get("project", {})
    own = stated.get("entry-points", {}).get(group, {}) if stated.get("name") == "paramgraph" else {}
    yield from (EntryPoint(name, value, group) for name, value in own.items())


def _version(name: str) -> str | None:
    if name == "paramgraph":
        return paramgraph.__version__
    return _metadata_version(name)


def _metadata_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except PackageNotFoundError:
        return None


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


def available_bytes() -> int | None:
    """Read how much memory the process may take now without paging; None where the system does not say.

    What Linux has free or can free, or what is left to a control group, as of a container or a batch job, where that is
    less.
    """
    found = [_linux_available(), _group_available()]
    known = [size for size in found if size is not None]
    return min(known) if known else None


def _linux_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _group_available() -> int | None:
    """Read what is left to the tightest of the groups that the process is in, and those around them."""
    found = [_left(*group) for group in _memory_groups()]
    return min((left for left in found if left is not None), default=None)


def _memory_groups() -> Iterator[tuple[Path, str, str]]:
    """Give each folder of a memory group, with the names of its files of limit and use, innermost first."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    second, first = "/", "/"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        second = path if number == "0" and not controllers else second
        first = path if "memory" in controllers.split(",") else first
    for root, path, limit, used in (
        ("/sys/fs/cgroup", second, "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", first, "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        # In a container its own group is the root, and the path may be that outside, of which nothing is there.
        inside = PurePosixPath(path.lstrip("/"))
        for part in (inside, *inside.parents):
            yield Path(root) / part, limit, used


def _left(group: Path, limit_name: str, used_name: str) -> int | None:
    try:
        limit, used = ((group / name).read_text(encoding="ascii").strip() for name in (limit_name, used_name))
        stated = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    if limit == "max":
        return None
    values = dict(line.split()[:2] for line in stated)
    # Pages of files count as used, and are given up first. In the first version "total_" counts the groups inside too.
    of_files = sum(
        int(values.get(f"total_{name}", values.get(name, 0))) for name in ("inactive_file", "active_file")
    )
    return max(int(limit) - int(used) + of_files, 0)


def _processor() -> str:
    # platform.processor() is empty on most Linux systems.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
