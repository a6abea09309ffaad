"""What a core of this machine does at best: products, and bytes through its memory."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

ROWS, ENTRIES, TURNS = 1536, 2**24, 5  # three matrices of 64 MB are in no cache


@dataclass(frozen=True)
class Rates:
    """Operations a second of a matrix product, by dtype, and bytes a second of a = b + s c (the triad of STREAM)."""

    products: dict[str, float]
    triad: float

    def to_dict(self) -> dict[str, object]:
        """Give plain numbers of three digits."""
        found = asdict(self)
        return {
            "products": {name: float(f"{value:.3g}") for name, value in found["products"].items()},
            "triad": float(f"{found['triad']:.3g}"),
        }


def measure_rates(rows: int = ROWS, entries: int = ENTRIES) -> Rates:
    """Time products of square matrices and the triad on the threads that torch has, the best of a few."""
    products = {}
    for dtype in (torch.float32, torch.float64):
        square, out = torch.ones(rows, rows, dtype=dtype), torch.empty(rows, rows, dtype=dtype)
        seconds = _shortest(lambda square=square, out=out: torch.mm(square, square, out=out))
        products[str(dtype).removeprefix("torch.")] = 2.0 * rows**3 / seconds
    a, b, c = (torch.ones(entries) for _ in range(3))
    return Rates(products, 3 * 4.0 * entries / _shortest(lambda: torch.add(b, c, alpha=0.5, out=a)))


def load() -> float | None:
    """Read how many processes wanted to run in the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _shortest(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(TURNS):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return max(best, 1e-9)
