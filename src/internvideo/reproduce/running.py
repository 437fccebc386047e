"""Carrying out the steps of a study in processes, one a core; what is done is not done again."""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from internvideo.errors import ConfigError, InternVideoError
from internvideo.reproduce.child import run_step
from internvideo.reproduce.steps import Step, fingerprints
from internvideo.train.checkpoint import only_run

__all__ = ["carry_out"]

_LOG = logging.getLogger(__name__)
_POLL = 0.1  # seconds
_GRACE = 20.0  # seconds that a child has to save its state
# One process loads the libraries, which takes seconds; a step forks from it.
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_PRELOADED = [
    "internvideo.reproduce.work",
    "lightning_fabric",
    "torch.utils.tensorboard",
    "matplotlib.pyplot",
]


def _read(marks: Mapping[str, str], directory: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, mark in marks.items():
        path = directory / name / "result.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["fingerprint"] != mark:
            raise ConfigError(
                f"{path.parent} holds the result of another study (another budget or version); "
                "choose another --out, or delete it"
            )
        found[name] = result
    return found


def carry_out(
    steps: Sequence[Step],
    directory: Path,
    *,
    jobs: int,
) -> dict[str, dict[str, Any]]:
    """Do what has no result yet, and return all results.

    Args:
        steps: needs come before those who need them.
        directory: of the study; another process may not work in it.
        jobs: processes at a time.

    Raises:
        ConfigError: another process works there, or on another study.
        InternVideoError: a step failed; its log is named.
    """
    directory.mkdir(parents=True, exist_ok=True)
    marks = fingerprints(list(steps))
    with only_run(directory), _children() as running:
        found = _read(marks, directory)
        while len(found) < len(steps):
            waiting = [
                each for each in steps if each.name not in found and each.name not in running
            ]
            ready = [each for each in waiting if all(name in found for name in each.needs)]
            for step in sorted(ready, key=lambda each: -each.cost)[: jobs - len(running)]:
                running[step.name] = _start(step, marks[step.name], directory)
            for name, child in [*running.items()]:
                if child.exitcode is None:
                    continue
                del running[name]
                if child.exitcode:
                    raise InternVideoError(_failure(directory / name, child.exitcode))
                found |= _read({name: marks[name]}, directory)
                _LOG.info("%d of %d steps done: %s", len(found), len(steps), name)
            time.sleep(_POLL)
    return found


def _start(step: Step, mark: str, directory: Path) -> BaseProcess:
    (directory / step.name).mkdir(parents=True, exist_ok=True)
    content = {
        "name": step.name,
        "work": step.work,
        "options": step.options,
        "fingerprint": mark,
    }
    context: Any = multiprocessing.get_context(_METHOD)
    child = context.Process(target=run_step, args=(content, directory.resolve()), name=step.name)
    child.start()
    return child


@contextmanager
def _children() -> Iterator[dict[str, BaseProcess]]:
    """Yield the running children by name; those that still run at the end are ended."""
    running: dict[str, BaseProcess] = {}
    if _METHOD == "forkserver":
        multiprocessing.set_forkserver_preload(_PRELOADED)
    try:
        yield running
    finally:
        for child in running.values():
            child.terminate()  # a training saves its state
        for child in running.values():
            child.join(_GRACE)
            child.kill()
            child.join()


def _failure(place: Path, code: int) -> str:
    log = place / "output.log"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
    why = lines[-1].removeprefix("error: ")
    return f"{place.name} failed (exit code {code}): {why}; see {log}, then run the command again"
