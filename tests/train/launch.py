"""Training as a user starts it: the command in a process, or in several under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
IN_TURN = """
import json, os, sys
from internvideo.cli.application import run
codes = [run(arguments) for arguments in json.loads(sys.argv[1])]
sys.stderr.flush()
os._exit(max(codes))  # the interpreter's clean-up now and then meets a thread of gloo, and aborts
"""


def arguments(directory: Path, recipe: str, *overrides: str, processes: int = 1) -> list[str]:
    """Return the arguments that train a recipe of a global batch of 8 into a directory."""
    file = directory.with_suffix(".yaml")
    file.write_text(recipe)
    size = f"runtime.batch_size={8 // processes}"
    return ["train", str(file), "--out", str(directory), size, *overrides]


def command(line: Sequence[str], *, processes: int = 1) -> list[str]:
    """Return what starts a line for Python in one process or, by torchrun, in several."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [sys.executable, *(torchrun if processes > 1 else []), *line]


def run_processes(line: Sequence[str], *, processes: int = 1) -> None:
    line = command(line, processes=processes)
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_in_turn(lines: Sequence[Sequence[str]], script: Path, *, processes: int = 1) -> None:
    """Run several command lines in the same processes, which saves most of the time of starting."""
    script.write_text(IN_TURN)
    run_processes([str(script), json.dumps(lines)], processes=processes)
