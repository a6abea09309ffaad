import json
import platform

from paramgraph.environment import PACKAGES, hardware, peak_megabytes, versions


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
