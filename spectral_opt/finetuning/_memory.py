"""Whether a run can fit in memory, from the headers of its checkpoint, before anything of it is loaded."""

from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path

import torch

from paramgraph.checkpoints import checkpoint_inventory
from paramgraph.environment import available_bytes
from spectral_opt.finetuning._launch import Launch

# Of float32: the weight; of what is trained also its gradient, and AdamW's two moments.
WEIGHT_BYTES, GRADIENT_BYTES, MOMENT_BYTES = 4, 4, 8
FULL_MOMENTS = ("adamw_torch", "adamw_torch_fused")


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a run needs at least, without the activations of a step, and those that are there (None: unknown).

    `by` says what needs them.
    """

    entries: int
    needed: int
    available: int | None
    place: str
    by: str = "weights"

    def __str__(self) -> str:
        there = "unknown" if self.available is None else f"{self.available / 1e9:.1f} GB"
        return (
            f"{self.entries / 1e6:.1f} million {self.by} need {self.needed / 1e9:.1f} GB and a step's activations; "
            f"{there} are available on {self.place}"
        )


def memory_need(folder: Path, is_adapter: bool, optimizer: str, launch: Launch) -> MemoryNeed:
    """Estimate what weights, gradients and moments of a checkpoint need; those of an adapter are not counted.

    `optimizer` is transformers' name: others than AdamW keep less than two moments in float32, and none is counted.
    A device holds its rank's share of sharded weights, and all ranks of a machine read all weights first; of both
    needs the one that is nearer to what is there is given.
    """
    entries = checkpoint_inventory(folder).entries
    trained = GRADIENT_BYTES + moment_bytes(optimizer)
    held = entries * (WEIGHT_BYTES if is_adapter else WEIGHT_BYTES + trained)
    by = "weights"
    if launch.is_sharded:
        held, by = ceil(held / launch.ranks), f"weights that {launch.ranks} ranks share"
    here, ranks = launch.ranks_here, f"weights on {launch.ranks_here} ranks"
    reading = here * entries * WEIGHT_BYTES
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info(launch.device)
        name = torch.cuda.get_device_name(launch.device)
        on_device = MemoryNeed(entries, held, int(free), name, by)
        beside = MemoryNeed(
            entries, reading, available_bytes(), "this machine", f"{ranks}, as they are read,"
        )
        return max(on_device, beside, key=lambda need: need.needed / (need.available or inf))
    return MemoryNeed(
        entries, max(reading, here * held), available_bytes(), "this machine", by if here == 1 else ranks
    )


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
