"""Tensors whose memory is a file: the system keeps of them what it has room for, and reads the rest again."""

import contextlib
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor


class MappedMemory:
    """Make tensors in files of a folder; each file goes with its tensor, also where the process is killed.

    Room on the disk is taken before it is written to: an OSError says that there is none, where a page that is written
    later would end the process. `size` counts what was taken.

    >>> memory = MappedMemory()
    >>> memory.zeros(2, 3, dtype=torch.float32)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    >>> memory.size
    24
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.size = 0

    def zeros(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Make a tensor of zeros."""
        count = torch.Size(shape).numel()
        if not count:
            return torch.zeros(*shape, dtype=dtype)
        descriptor, name = tempfile.mkstemp(prefix="paramgraph-", suffix=".mapped", dir=self.folder)
        try:
            _take_room(descriptor, count * dtype.itemsize, Path(name).parent)
            found = torch.from_file(name, shared=True, size=count, dtype=dtype)
        finally:
            os.close(descriptor)
            # The mapping holds the file; Windows keeps the name until then, as a temporary file that it may remove.
            with contextlib.suppress(PermissionError):
                Path(name).unlink()
        self.size += found.nbytes
        return found.view(shape)

    def keep(self, tensor: Tensor) -> Tensor:
        """Copy a tensor, which lies on the CPU then."""
        return self.zeros(*tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def _take_room(descriptor: int, size: int, folder: Path) -> None:
    """Make a file of zeros that has its place on the disk."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
            return
        nothing = bytes(1 << 20)
        for start in range(0, size, len(nothing)):
            os.write(descriptor, nothing[: size - start])
    except OSError as error:
        raise OSError(
            error.errno,
            f"no room for a temporary file of {size / 1e9:.2g} GB in {folder} ({error.strerror}): set TMPDIR to a "
            "folder on a larger disk",
        ) from error
