"""Writing and reading the state of a run: atomic, complete, and never unpickling code."""

from __future__ import annotations

import logging
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from internvideo.errors import CheckpointError
from internvideo.files import replacing

__all__ = [
    "has_checkpoint",
    "keep_previous",
    "load_state",
    "newest_readable",
    "random_state",
    "restore_random_state",
    "save_state",
]

_LOG = logging.getLogger(__name__)


def save_state(
    path: Path, state: dict[str, Any], *, before_replacing: Callable[[Path], None] | None = None
) -> None:
    """Write tensors and plain values so that a reader sees the old file or the new one.

    Args:
        path: the file.
        state: what it shall hold.
        before_replacing: called with `path` once the new content is safely on disk.

    Raises:
        CheckpointError: it cannot be written, for want of space for instance; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path, exclusive=True) as draft:
            with draft.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            if before_replacing is not None:
                before_replacing(path)
    except (OSError, RuntimeError) as error:
        reason = _system_error(error)
        if reason is None:
            raise
        raise CheckpointError(
            f"cannot write {path}: {reason.strerror}; the one before is kept: make room, and give "
            "the same command again"
        ) from error


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the error of the system behind one: `torch.save` raises its own on top."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def keep_previous(path: Path) -> None:
    """Rename `last.ckpt` to `previous.ckpt`."""
    if path.exists():
        path.replace(path.with_name("previous.ckpt"))


def newest_readable(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest checkpoint of a run that can be read, and its path; None where is none.

    A broken `last.ckpt` is told and `previous.ckpt` taken instead.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
    """
    paths = _checkpoints(directory)
    for path in paths:
        try:
            return path, load_state(path)
        except CheckpointError as error:
            if path == paths[-1]:
                raise
            _LOG.warning("%s; taking %s instead", error, paths[-1].name)
    return None


def has_checkpoint(directory: Path) -> bool:
    """Return whether a directory holds a run that can go on, or a broken one."""
    return bool(_checkpoints(directory))


def _checkpoints(directory: Path) -> list[Path]:
    paths = (directory / "last.ckpt", directory / "previous.ckpt")
    return [path for path in paths if path.exists()]


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; nothing in the file is executed.

    Raises:
        CheckpointError: the file is broken or was not written by `save_state`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not compare the checksums
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise CheckpointError(
            f"cannot resume from {path}: {type(error).__name__} ({reason}); "
            "delete the file to start afresh"
        ) from error


def random_state() -> dict[str, Any]:
    """Return the state of every random generator of this process, as plain values."""
    numpy_state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    name, keys, position, has_gauss, cached = numpy_state
    version, internal, gauss = random.getstate()
    state = {
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every random generator back to where `random_state` saw it."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        (name, keys.numpy().astype(np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
