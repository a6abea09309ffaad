"""How this process was started: by itself, by torchrun or by accelerate, and what that decides of a run."""

import os
from dataclasses import dataclass

import torch

from spectral_opt.finetuning.options import FineTuneOptions


@dataclass(frozen=True)
class Launch:
    """The number of ranks, of them those on this machine, this one's device, whether weights are shared, precision."""

    ranks: int
    ranks_here: int
    device: int
    is_sharded: bool
    precision: str

    @classmethod
    def of(cls, options: FineTuneOptions) -> "Launch":
        """Read what launchers leave in the environment; options stand above it, as in transformers."""
        ranks = int(os.environ.get("WORLD_SIZE", 1))
        precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        return cls(
            ranks=ranks,
            device=int(os.environ.get("LOCAL_RANK", 0)),
            ranks_here=int(os.environ.get("LOCAL_WORLD_SIZE", ranks)),
            is_sharded=bool(options.trainer.get("fsdp")) or os.environ.get("ACCELERATE_USE_FSDP") == "true",
            precision="fp16" if options.trainer.get("fp16") else "bf16" if options.bf16 else precision,
        )

    def check(self, options: FineTuneOptions) -> None:
        """Refuse with a ValueError what accelerate would leave undone on the CPU without a word."""
        if torch.accelerator.is_available() and not options.trainer.get("use_cpu"):
            return
        if self.precision == "fp16":
            raise ValueError(
                "fp16 is asked for, and on the CPU accelerate would compute in float32: take bf16, or leave it out"
            )
        if self.is_sharded:
            raise ValueError(
                "FSDP is asked for, and accelerate shards weights on accelerators alone: on the CPU each rank would "
                "hold all of them; leave it out"
            )
