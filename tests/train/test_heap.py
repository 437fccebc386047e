from __future__ import annotations

import platform

import pytest

from internvideo.train.heap import HeapTrimmer


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_memory_is_given_back_every_few_samples():
    trimmer = HeapTrimmer(3)
    assert [trimmer.tick() for _ in range(7)] == [False, False, True, False, False, True, False]
