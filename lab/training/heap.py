"""Freed memory stays with the process, so that a step does not fault its pages in again."""

from __future__ import annotations

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt, malloc.h


def keep_heap() -> None:
    """From now on, this process gives no freed memory back to the system.

    By default glibc maps every large tensor anew and unmaps it when it is freed, and the kernel
    clears its pages each time. Only glibc has this setting; elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)
