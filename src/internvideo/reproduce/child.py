"""The process of one step; it ends when the process that started it does."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from internvideo.errors import InternVideoError
from internvideo.files import write_whole

__all__ = ["run_step"]


def run_step(step: Mapping[str, Any], directory: Path) -> None:
    """Carry out a step in the directory of the study, and write its `result.json`.

    What it prints goes to its `output.log`. The exit code is 1 where it fails.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its children
    os.chdir(directory)
    place = Path(step["name"])
    log = os.open(place / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    import torch

    from internvideo.reproduce.work import WORKS

    torch.set_num_threads(1)
    began = time.perf_counter()
    try:
        numbers = WORKS[step["work"]](place, step["options"])
    except InternVideoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    result = {
        **step,
        "numbers": numbers,
        "cpu_seconds": round(time.process_time(), 1),
        "seconds": round(time.perf_counter() - began, 1),
    }
    write_whole(place / "result.json", json.dumps(result, indent=1) + "\n")


def _end_with_parent() -> None:
    """Wait until the parent is gone, whatever ended it."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
