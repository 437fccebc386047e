"""Shared by all tests: one thread per worker, the same examples in every run, golden directories.

`HYPOTHESIS_PROFILE=search` draws new examples, and remembers what fails.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("search")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_finish() -> None:
    """Keep the collected tests out of every later search for garbage: a tenth less time."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=None,
        help="run every golden case in this directory (default: the compact and the full set)",
    )
