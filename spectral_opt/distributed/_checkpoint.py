"""The spectral state in a checkpoint of torch.distributed.checkpoint, beside the model and the optimizer."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_checkpoint_state(checkpoint: str | Path, key: str = "spectral") -> dict[str, Tensor]:
    """Read what `state_dict` of a handle gave under a key of a checkpoint, whole, on each rank that calls this.

    Sizes are those in the checkpoint, since graphs that were built anew have others than those at `attach`; the number
    of ranks may be another than when it was written. Give the result to `prepared_from_state`, and to `load_state_dict`
    of the handle. A ValueError where the checkpoint is not complete, or has no state under the key.
    """
    # Imported where it is used: it costs a program without ranks half a second.
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    # The metadata are written last, by one rank, when all have written their part.
    if not (Path(checkpoint) / ".metadata").is_file():
        raise ValueError(
            f"{str(checkpoint)!r} has no .metadata, so it is no checkpoint of torch.distributed.checkpoint, or one "
            "whose run was killed while it was written: resume from an earlier one"
        )
    stored: dict[str, Any] = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    parts = {
        name.removeprefix(f"{key}."): about
        for name, about in stored.items()
        if name.startswith(f"{key}.") and isinstance(about, TensorStorageMetadata)
    }
    if not parts:
        raise ValueError(
            f"the checkpoint {str(checkpoint)!r} has no spectral state under {key!r} (it has "
            f"{', '.join(sorted({name.partition('.')[0] for name in stored})[:5]) or 'nothing'}): save it with "
            f"dcp.save({{..., {key!r}: handle.state_dict()}}), or train anew"
        )
    state = {name: torch.empty(about.size, dtype=about.properties.dtype) for name, about in parts.items()}
    load({key: state}, checkpoint_id=checkpoint)
    return state
