"""Training as a user starts it: the command in a process, or in several under torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(directory: Path, recipe: str, *overrides: str, processes: int = 1) -> list[str]:
    """Return the line that trains a recipe of a global batch of 8 into a directory."""
    file = directory.with_suffix(".yaml")
    file.write_text(recipe)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    start = [sys.executable, *(torchrun if processes > 1 else [])]
    train = ["-m", "internvideo", "train", str(file), "--out", str(directory)]
    return [*start, *train, f"runtime.batch_size={8 // processes}", *overrides]


def train(directory: Path, recipe: str, *overrides: str, processes: int = 1) -> Path:
    line = command(directory, recipe, *overrides, processes=processes)
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory
