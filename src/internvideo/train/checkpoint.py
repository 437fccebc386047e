"""The files of a run: written whole, read without executing code, by one run at a time."""

from __future__ import annotations

import logging
import os
import socket
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from internvideo.errors import CheckpointError, ConfigError
from internvideo.files import replacing

__all__ = ["has_checkpoint", "load_state", "newest_readable", "only_run", "save_state"]

_LOG = logging.getLogger(__name__)


def save_state(path: Path, state: dict[str, Any], *, keep_old_as: Path | None = None) -> None:
    """Write tensors and plain values so that a reader sees the old file or the new one.

    Args:
        path: the file.
        state: its content.
        keep_old_as: where the old file goes, once the new content is safely on disk.

    Raises:
        CheckpointError: it cannot be written (a full disk, for instance); the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path, exclusive=True) as draft:
            with draft.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            if keep_old_as is not None and path.exists():
                path.replace(keep_old_as)
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


def newest_readable(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest checkpoint of a run that can be read, and its path; None without any.

    Where `last.ckpt` is broken, it warns and takes `previous.ckpt`.

    Raises:
        CheckpointError: there are checkpoints, but none can be read.
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
    """Return whether a directory holds a run to resume, or a broken one."""
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


@contextmanager
def only_run(directory: Path) -> Generator[None]:
    """Keep other runs out of a run directory, where they would overwrite what this one writes.

    The lock ends with the process, however that ends. Where the file system or the operating system
    has no locks, nothing is kept out.

    Args:
        directory: it must exist; the file `.lock` in it names the process.

    Raises:
        ConfigError: another process trains there.
    """
    path = directory / ".lock"
    # A lock of `fcntl.lockf` belongs to the process: data workers, which may outlive it by seconds,
    # do not inherit it.
    with path.open("a+", encoding="utf-8") as file:
        if not _locked(file.fileno()):
            file.seek(0)
            raise ConfigError(
                f"{file.read().strip() or 'another process'} is training in {directory}; wait for "
                "it to end, or choose another --out"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield  # the file stays: to delete it would let two others lock two files of that name


def _locked(descriptor: int) -> bool:
    """Take the lock of an open file; False where another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
