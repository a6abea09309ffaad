"""Whether a run can fit in memory, from the headers of its checkpoint, before anything of it is loaded."""

from dataclasses import dataclass
from pathlib import Path

import torch

from paramgraph.checkpoints import checkpoint_inventory
from paramgraph.environment import available_bytes

# Of float32: the weight; of what is trained also its gradient, and AdamW's two moments.
WEIGHT_BYTES, GRADIENT_BYTES, MOMENT_BYTES = 4, 4, 8
FULL_MOMENTS = ("adamw_torch", "adamw_torch_fused")


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a run needs at least, without the activations of a step, and those that are there (None: unknown)."""

    entries: int
    needed: int
    available: int | None
    place: str

    def __str__(self) -> str:
        there = "unknown" if self.available is None else f"{self.available / 1e9:.1f} GB"
        return (
            f"{self.entries / 1e6:.1f} million weights need {self.needed / 1e9:.1f} GB and the activations of a step; "
            f"{there} are available on {self.place}"
        )


def memory_need(folder: Path, is_adapter: bool, optimizer: str = "adamw_torch") -> MemoryNeed:
    """Estimate what weights, gradients and moments of a checkpoint need; those of an adapter are not counted.

    `optimizer` is transformers' name: others than AdamW keep less than two moments in float32, and none is counted.
    """
    entries = checkpoint_inventory(folder).entries
    trained = GRADIENT_BYTES + moment_bytes(optimizer)
    needed = entries * (WEIGHT_BYTES if is_adapter else WEIGHT_BYTES + trained)
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return MemoryNeed(entries, needed, int(free), torch.cuda.get_device_name())
    return MemoryNeed(entries, needed, available_bytes(), "this machine")


def moment_bytes(optimizer: str) -> int:
    """Give the bytes of an optimizer's moments of one weight, by transformers' name of it."""
    return MOMENT_BYTES if optimizer in FULL_MOMENTS else 0


def check_memory(need: MemoryNeed, is_adapter: bool) -> None:
    """Refuse with a ValueError what cannot fit."""
    if need.available is not None and need.needed > need.available:
        advice = (
            "a smaller model"
            if is_adapter
            else "an adapter (--peft lora), which needs a quarter, or a smaller model"
        )
        raise ValueError(f"not enough memory: {need}; take {advice}")
