"""One run at a time in a directory: a second one would overwrite what the first one writes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from internvideo.errors import ConfigError

__all__ = ["only_run"]


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Keep other processes out of a run directory; ends with the process, however that ends.

    Where the file system or the operating system knows no locks, nothing is kept out.

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
