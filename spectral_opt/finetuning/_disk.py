"""Whether checkpoints and model of a run can be written, before it trains."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from paramgraph.whole_files import free_disk_bytes
from spectral_opt.finetuning._arguments import Schedule
from spectral_opt.finetuning._memory import moment_bytes
from spectral_opt.finetuning._run_folder import CHECKPOINTS

# The last, the one before it, and the next while it is written.
AT_ONCE = 3


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that checkpoints and model of a run take, of graphs the most, those there of it, and those free."""

    checkpoints: int
    needed: int
    there: int
    free: int
    place: Path

    def __str__(self) -> str:
        return (
            f"{self.checkpoints} checkpoints at a time and the model need {self.needed / 1e9:.2g} GB; "
            f"{(self.free + self.there) / 1e9:.2g} GB are there for them at {self.place}"
        )


def disk_need(
    model: nn.Module,
    schedule: Schedule,
    optimizer: str,
    out: Path,
    is_sharded: bool = False,
    graphs: int = 0,
) -> DiskNeed:
    """Estimate it from what is trained and, where that is no adapter, saved with all the rest.

    So many bytes of `graphs` and spectra lie in each checkpoint.

    A checkpoint of sharded weights has them twice: as a model, and as accelerate reads them.
    """
    trained = [value for value in model.parameters() if value.requires_grad]
    is_adapter = hasattr(model, "peft_config")
    saved = sum(value.nbytes for value in (trained if is_adapter else {*model.parameters()}))
    moments = moment_bytes(optimizer) * sum(value.numel() for value in trained)
    count = min(AT_ONCE, -(-schedule.steps // schedule.checkpoint_every))
    files = [file for file in (out / CHECKPOINTS).rglob("*") if file.is_file()]
    return DiskNeed(
        checkpoints=count,
        needed=count * ((2 if is_sharded else 1) * saved + moments + graphs) + saved,
        there=sum(file.stat().st_size for file in files),
        free=free_disk_bytes(out),
        place=out,
    )


def check_disk(need: DiskNeed) -> None:
    """Refuse with a ValueError what cannot be written."""
    if need.needed > need.free + need.there:
        raise ValueError(
            f"not enough room on the disk: {need}; make room, name another folder with --out, or tune an adapter"
        )
