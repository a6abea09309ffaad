"""Sums of features that together are as large as the model: in a file without a name, each read when it is its turn."""

import logging
import tempfile
import weakref
from typing import Any

import torch
from torch import Tensor

from paramgraph.whole_files import free_disk_bytes, lies_in_memory

# Sums of all tables that are kept in memory; of most encoders they are smaller.
IN_MEMORY = 2**26

_logger = logging.getLogger(__name__)


class FeatureFile:
    """Hold tensors in a temporary file, each at its place; the file is gone with the last reference."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with this
        self._end = 0
        weakref.finalize(self, self._file.close)

    def write(self, value: Tensor, place: int | None = None) -> int:
        """Write a tensor, over an earlier one of its size where a place is given, and give its place."""
        if place is None:
            place, self._end = self._end, self._end + value.numel() * value.element_size()
        self._file.seek(place)
        self._file.write(_bytes(value.detach().cpu().contiguous()))
        return place

    def read(self, place: int, like: Tensor) -> Tensor:
        """Read the tensor at a place, of the shape, type and device of another."""
        value = torch.empty(like.shape, dtype=like.dtype)
        self._file.seek(place)
        self._file.readinto(_bytes(value))
        return value.to(like.device)


def _bytes(value: Tensor) -> memoryview:
    entries: Any = value.view(-1).view(torch.uint8).numpy()  # NumPy types no buffer
    return memoryview(entries)


def file_for(size: int) -> FeatureFile | None:
    """Open a file for sums of so many bytes; None where they stay in memory, as they are few or no disk has room."""
    if size <= IN_MEMORY:
        return None
    folder = tempfile.gettempdir()
    free = free_disk_bytes(folder)
    in_memory = lies_in_memory(folder)
    if in_memory or free < 2 * size:
        why = "lies in memory itself" if in_memory else f"has {free / 2**30:.1f} GiB free"
        _logger.warning(
            "features of %.1f GiB are kept in memory: %s %s; set TMPDIR to a folder on a disk with room",
            *(size / 2**30, folder, why),
        )
        return None
    _logger.info("features of %.1f GiB are kept in a file in %s while batches come", size / 2**30, folder)
    return FeatureFile()
