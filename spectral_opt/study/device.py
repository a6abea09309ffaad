"""The device of a job: where its model, batches and states lie, the CPU or an accelerator that is there."""

from contextlib import AbstractContextManager

import torch

DEVICE = "device"


def read_device(name: str) -> torch.device:
    """Read the name of a device, be it there or on another machine; a ValueError says why it will not do."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "meta":
        raise ValueError(
            f"device is {name!r}, on which nothing can be computed: take cpu, or an accelerator such as cuda"
        )
    if device.type == "mps":
        raise ValueError(f"device is {name!r}, which has no float64, in which graphs are summed: take cpu")
    return device


def open_device(name: str) -> torch.device:
    """Read the name of a device that is there; a ValueError says which are, or why this one will not do."""
    device = read_device(name)
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    there = {"cpu": 1}
    if accelerator is not None and accelerator.type != "mps":
        there[accelerator.type] = torch.accelerator.device_count()
    if (device.index or 0) >= there.get(device.type, 0):
        raise ValueError(f"device is {name!r}, and there is none; there is {', '.join(there)}")
    return device


def device_facts(device: torch.device) -> dict[str, str]:
    """Say what a record's hardware has beside that of the CPU; nothing of the CPU itself."""
    if device.type == "cpu":
        return {}
    shown = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {DEVICE: f"{device.type} ({shown})" if shown else device.type}


def own_randomness(device: torch.device) -> AbstractContextManager[None]:
    """Leave the global generators of the CPU and of a device as they are, whatever is drawn meanwhile."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device], device_type=device.type)
