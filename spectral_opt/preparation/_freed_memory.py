"""Give memory that the building of graphs has freed back to the system."""

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _trim() -> Any:  # a function of the C library, or None
    # Of glibc alone; other allocators give back by themselves.
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back_freed_memory() -> None:
    """Let the allocator return what is free: small parts of graphs that stay keep whole arenas from going back.

    Measured for LoRA on a model of SmolLM2's shape: 340 MiB more than before the graphs were built, of which 40 are in
    use. Milliseconds.
    """
    trim = _trim()
    if trim is not None:
        trim(0)
