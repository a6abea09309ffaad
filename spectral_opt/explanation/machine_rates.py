"""How long a step of a planned run takes: its operations and bytes over rates that are measured here, or given."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from spectral_opt.explanation.run_plan import RunPlan

# Of a product that no cache holds whole, and of a copy that none holds at all.
_ROWS, _BYTES, _TURNS = 2048, 2**27, 5


@dataclass(frozen=True)
class MachineRates:
    """What one rank does in a second: `operations`, `bandwidth` in bytes of its memory, `link` in bytes to others."""

    operations: float
    bandwidth: float
    link: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < float("inf"):
                raise ValueError(f"the rate {name} is a number above 0, got {value}")

    def seconds(self, plan: RunPlan) -> dict[str, float]:
        """Divide what a step of each rank takes by the rates, one part after the other, as if none overlapped.

        Weights, gradients and states are read and written once by the optimizer.
        """
        found = {what: count / self.operations for what, count in plan.operations.items()}
        updated = 2 * sum(plan.memory[kind] for kind in ("weights", "gradients", "optimizer"))
        found["the optimizer"] = updated / self.bandwidth
        if plan.ranks > 1:
            found |= {
                f"handing over, {what}": size / self.link for what, size in plan.traffic.items() if size
            }
        return found


def measure_rates(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """Time a product and a copy on a device, the best of a few: operations and bytes a second, in about a second.

    ValueError where there is no such device here.
    """
    try:
        square = torch.ones(_ROWS, _ROWS, dtype=dtype, device=device)
        source = torch.ones(_BYTES // 4, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"there is no device {device!r} here to measure ({str(error).splitlines()[0]}): give its rates in place of "
            "it, as --tflops and --bandwidth"
        ) from error
    if square.is_meta:
        raise ValueError("nothing runs on the device 'meta': give the rates of the one that is meant")
    target = torch.empty_like(source)
    product = _shortest(device, lambda: square @ square)
    copied = _shortest(device, lambda: target.copy_(source))
    return 2.0 * _ROWS**3 / product, 2.0 * _BYTES / copied


def _shortest(device: str, run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_TURNS):
        started = time.perf_counter()
        run()
        if torch.device(device).type != "cpu":
            torch.accelerator.synchronize(torch.device(device))
        best = min(best, time.perf_counter() - started)
    return best
