"""Shared by all tests: one thread per worker, and the option that names the golden directory."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=None,
        help="run every golden case in this directory (default: the compact and the full set)",
    )
