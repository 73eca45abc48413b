"""Advice to the system on what of a memory-mapped file to read from the disk, and when."""

import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def expect_random_reads(arrays: list[Array]) -> None:
    """Turn off reading ahead in mapped files that are larger, together, than half the memory.

    There a window of some kilobytes would cost the disk up to megabytes, which are dropped
    before anything else of them is used. Smaller files come into memory sooner by reading ahead.

    Args:
        arrays: Arrays of any kind; those that map no file are left as they are.
    """
    if sum(array.nbytes for array in arrays) > _memory_bytes() // 2:
        for array in arrays:
            mapped = _mapping(array)
            if mapped is not None:
                mapped.madvise(mmap.MADV_RANDOM)


def start_reading(array: Array) -> None:
    """Let the system begin to read all of an array from the disk, if it maps a file."""
    mapped = _mapping(array)
    if mapped is not None and array.size:
        first_byte = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        page = first_byte - first_byte % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, first_byte + array.nbytes - page)


def _mapping(array: Array) -> mmap.mmap | None:
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.obj if isinstance(base, memoryview) else base.base
    return base if isinstance(base, mmap.mmap) and hasattr(base, "madvise") else None


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 1 << 62  # not a POSIX system
