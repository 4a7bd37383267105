"""Giving freed memory back to the system: sessions take hundreds of MiB in pieces that the allocator would keep."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def return_freed_memory() -> None:
    """Return what was freed to the system, where the C library can: glibc keeps it otherwise, thread by thread."""
    gc.collect(0)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
