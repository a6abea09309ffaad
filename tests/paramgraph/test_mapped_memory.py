"""Tensors in files: they behave as any, take no memory of their own, leave no file, and say when the disk is full."""

import errno
import os
import sys
from pathlib import Path

import pytest
import torch

from paramgraph.mapped_memory import MappedMemory


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def test_tensors_in_files_are_tensors_and_their_files_are_gone(tmp_path):
    memory = MappedMemory(tmp_path)
    zeros, kept = memory.zeros(3, 2, dtype=torch.float64), memory.keep(torch.arange(4, dtype=torch.int32))
    zeros += 1.5
    assert zeros.sum() == 9
    assert kept.tolist() == [0, 1, 2, 3]
    assert kept.dtype == torch.int32
    assert memory.zeros(0, 5, dtype=torch.float32).shape == (0, 5)
    assert memory.size == 3 * 2 * 8 + 4 * 4
    assert not any(tmp_path.iterdir())


def test_a_copy_is_not_changed_with_what_it_was_made_of():
    tensor = torch.ones(3, requires_grad=True)
    kept = MappedMemory().keep(tensor)
    kept += 1
    assert tensor.tolist() == [1, 1, 1]
    assert not kept.requires_grad


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_their_memory_is_none_of_the_process():
    before = anonymous_bytes()
    held = MappedMemory().zeros(8_000_000, dtype=torch.float64)
    held += 1  # every page is there
    # 64 million bytes were written; an allocator may take a few for itself.
    assert anonymous_bytes() - before < 8e6


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(
        OSError, match=r"no room for a temporary file of .* GB in .* \(No space left on device\): set TMPDIR"
    ):
        MappedMemory(tmp_path).zeros(3, dtype=torch.float32)
    assert not any(tmp_path.iterdir())
