"""Shared by all tests: one thread per worker, the same examples in every run, golden directories.

`HYPOTHESIS_PROFILE=search` draws new examples, and remembers what fails.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repeatable", derandomize=True, deadline=None)  # machines are shared
settings.register_profile("search", deadline=None)
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


@pytest.fixture
def call(capsys):
    """Run a command line in this process; return exit code, stdout and stderr."""
    from internvideo.cli.application import run

    def run_line(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_line
