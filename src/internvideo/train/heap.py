"""Giving memory back to the system.

A decoder frees what it took, but the C library keeps freed pages for later and, with frames of all
sizes coming and going in several threads, ever more of them. Over a run of days that is gigabytes.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

__all__ = ["HeapTrimmer"]


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """Return glibc's `malloc_trim`; other C libraries have none, and need none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


class HeapTrimmer:
    """Gives freed memory back once in a while.

    Args:
        every: calls of `tick` between two times; one time takes milliseconds.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._ticks = 0

    def tick(self) -> bool:
        """Count one; return whether memory was given back."""
        self._ticks += 1
        trim = _trim()
        if trim is None or self._ticks % self.every:
            return False
        trim(0)
        return True
