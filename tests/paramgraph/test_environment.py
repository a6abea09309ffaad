import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import paramgraph
from paramgraph.environment import (
    PACKAGES,
    available_bytes,
    entry_points,
    hardware,
    peak_megabytes,
    versions,
    versions_beside,
)
from paramgraph.inputs import InputProvider


def test_versions_name_python_and_every_package_that_decides_a_result():
    assert set(versions()) == {"python", *PACKAGES}
    assert versions()["python"] == platform.python_version()


def test_hardware_is_plain_and_names_no_machine():
    described = json.dumps(hardware())
    assert platform.node() not in described or not platform.node()


def test_peak_is_in_megabytes():
    peak = peak_megabytes()
    assert peak is not None
    assert 50 < peak < 1e6  # a process that has imported torch, and no terabyte


def test_a_checkout_that_is_not_installed_has_its_version_and_its_own_entry_points(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    assert len(list(entry_points("paramgraph.inputs"))) == 1  # installed: not there twice
    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    (entry,) = entry_points("paramgraph.inputs")
    assert isinstance(entry.load(), InputProvider)
    assert list(entry_points("paramgraph.builders")) == list(entry_points("of.others")) == []
    assert versions()["paramgraph"] == paramgraph.__version__
    assert versions()["torch"] == "unknown"
    assert versions_beside() == {}


@pytest.mark.parametrize("package", ["paramgraph", "spectral_opt"])
def test_both_packages_run_as_modules_and_state_their_versions(package):
    done = subprocess.run(
        [sys.executable, "-m", package, "--version"], capture_output=True, text=True, check=True
    )
    shown = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert shown == versions() | versions_beside()
    assert shown["paramgraph"] == paramgraph.__version__
    assert "peft" in shown


@pytest.fixture
def files(monkeypatch):
    """Stand in for the files of the system; the machine has 700 kB free."""
    found = {"/proc/meminfo": "MemTotal: 900 kB\nMemAvailable:     700 kB\n"}

    def read(file, **options):
        if str(file) not in found:
            raise FileNotFoundError(file)
        return found[str(file)]

    monkeypatch.setattr(Path, "read_text", read)
    return found


def test_memory_that_is_left_is_that_of_the_machine_or_of_its_group(files):
    files |= {
        "/sys/fs/cgroup/memory.max": "500000\n",
        "/sys/fs/cgroup/memory.current": "300000\n",
        "/sys/fs/cgroup/memory.stat": "anon 7\nactive_file 1000\ninactive_file 20000\n",
    }
    assert available_bytes() == 500_000 - 300_000 + 21_000
    files["/sys/fs/cgroup/memory.max"] = "max"
    assert available_bytes() == 700 * 1024


def test_the_tightest_of_nested_groups_counts(files):
    files["/proc/self/cgroup"] = "0::/system.slice/job.scope\n"
    for group, limit in (("system.slice", 90_000), ("system.slice/job.scope", 400_000)):
        files |= {
            f"/sys/fs/cgroup/{group}/memory.max": f"{limit}\n",
            f"/sys/fs/cgroup/{group}/memory.current": "30000\n",
            f"/sys/fs/cgroup/{group}/memory.stat": "inactive_file 0\n",
        }
    assert available_bytes() == 90_000 - 30_000


@pytest.mark.parametrize("folder", ["", "/batch/job 7"])
def test_groups_of_the_first_version_count_too(files, folder):
    files["/proc/self/cgroup"] = "5:cpu,cpuacct:/\n4:memory:/batch/job 7\n0::/\n"
    files |= {
        f"/sys/fs/cgroup/memory{folder}/memory.limit_in_bytes": "500000\n",
        f"/sys/fs/cgroup/memory{folder}/memory.usage_in_bytes": "300000\n",
        # Those of the group alone come first, those of the groups inside are counted with it in the total.
        f"/sys/fs/cgroup/memory{folder}/memory.stat": "inactive_file 7\nactive_file 1\ntotal_inactive_file 2000\n"
        "total_active_file 1000\n",
    }
    assert available_bytes() == 500_000 - 300_000 + 3000


def test_memory_that_is_left_is_not_known_everywhere(monkeypatch):
    def missing(file, **options):
        raise FileNotFoundError(file)

    monkeypatch.setattr(Path, "read_text", missing)
    assert available_bytes() is None
