"""Bytes of shards: from a folder, from a server by range requests, or by way of a local cache."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from filelock import FileLock

from internvideo.errors import DataError, VideoError
from internvideo.files import replacing, sha256_of
from internvideo.video.sources import is_url

__all__ = ["CachedShards", "Shards"]

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_ATTEMPTS = 4
_FIRST_WAIT = 0.5
_SILENCE = 60.0
_HEADER_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Shards:
    """Shards in a folder or at an address that fsspec knows (https://, s3://, …).

    Only what is read is sent; a copy in another process works.
    """

    base: str

    def address(self, name: str) -> str:
        """Return where a shard is."""
        return f"{self.base.rstrip('/')}/{name}"

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return some bytes of a shard.

        Raises:
            VideoError: they cannot be had.
        """
        address, end = self.address(name), offset + size
        try:
            data = self._asked(name, lambda fs, path: fs.cat_file(path, start=offset, end=end))
        except Exception as error:  # every storage driver raises its own types
            raise VideoError(f"{address}: {_reason(error)}") from error
        if len(data) > size:
            raise VideoError(
                f"{address}: the server sends the whole file where a range was asked for; "
                "set a cache folder, so that shards are fetched once"
            )
        if len(data) < size:
            raise VideoError(
                f"{address}: {len(data)} of {size} bytes at {offset}; the shard is shorter than "
                "its index says: copy it again, or index it again"
            )
        return data

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """Return a seekable file and its size, for scanning.

        Raises:
            DataError: there is no such shard.
        """
        try:
            return self._asked(
                name, lambda fs, path: (fs.open(path, block_size=_HEADER_BLOCK), fs.size(path))
            )
        except Exception as error:
            raise DataError(f"{self.address(name)}: {_reason(error)}") from error

    def text(self, name: str) -> str | None:
        """Return what a file beside the shards says; None where there is no such file.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return self._asked(name, lambda fs, path: fs.cat_file(path)).decode()
        except FileNotFoundError:
            return None
        except Exception as error:
            raise DataError(f"{self.address(name)}: {_reason(error)}") from error

    def fetch(self, name: str, path: Path) -> None:
        """Copy a shard to a file on this machine; raises what the storage driver does."""
        self._asked(name, lambda fs, remote: fs.get_file(remote, str(path)))

    def _asked(self, name: str, ask: Callable[[Any, str], _Result]) -> _Result:
        """Ask a file system; again after what may pass: broken connections and busy servers."""
        address, wait = self.address(name), _FIRST_WAIT
        for attempt in range(1, _ATTEMPTS):
            try:
                return ask(*_file_system(address))
            except (FileNotFoundError, PermissionError, ImportError, ValueError):
                raise
            except Exception as error:
                shown = address.partition("?")[0]  # what follows may be a secret
                _log.info("%s: %s; attempt %d", shown, _reason(error), attempt + 1)
                time.sleep(wait)
                wait *= 2
        return ask(*_file_system(address))


class CachedShards:
    """Shards at an address, each fetched as a whole into a folder when it is first needed.

    Args:
        base: the address.
        folder: where the shards are kept; processes and runs may share it.
        max_bytes: the shards that were not used for the longest time are removed beyond this; the
            one in use always stays.
        sha256: checksums by name, where they are known.
    """

    def __init__(
        self, base: str, folder: Path, *, max_bytes: int, sha256: dict[str, str] | None = None
    ) -> None:
        self.remote = Shards(base)
        self.max_bytes = max_bytes
        self.sha256 = sha256 or {}
        digest = hashlib.sha256(base.partition("?")[0].encode()).hexdigest()[:12]
        self.folder = Path(folder) / digest
        self.local = Shards(str(self.folder))

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return some bytes of a shard, fetching it if it is not there.

        Raises:
            VideoError: they cannot be had.
        """
        for _ in range(_ATTEMPTS):
            self._provide(name)
            try:
                return self.local.read(name, offset, size)
            except VideoError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                # Another process made room between the look and the read.
        raise VideoError(
            f"{self.folder / name}: removed again and again by other processes; the cache of "
            f"{self.max_bytes:,} bytes is smaller than what they read at once"
        )

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """Return a seekable file and its size, for scanning.

        Raises:
            DataError: there is no such shard.
        """
        try:
            self._provide(name)
        except VideoError as error:
            raise DataError(str(error)) from error
        return self.local.open(name)

    def _provide(self, name: str) -> None:
        path = self.folder / name
        try:
            os.utime(path)  # the time of use
            return
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                self._fetch(name, path)
                self._make_room(path)

    def _fetch(self, name: str, path: Path) -> None:
        wanted = self.sha256.get(name)
        try:
            with replacing(path, exclusive=True) as draft:
                self.remote.fetch(name, draft)
                if wanted is not None and sha256_of(draft) != wanted:
                    raise VideoError(
                        f"{self.remote.address(name)}: arrived with another SHA-256 than its index "
                        "says; the shard was changed after it was indexed, or damaged"
                    )
        except VideoError:
            raise
        except Exception as error:
            raise VideoError(f"{self.remote.address(name)}: {_reason(error)}") from error

    def _make_room(self, newest: Path) -> None:
        kept = []
        for path in self.folder.glob("**/*.tar"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            kept.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self.max_bytes:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size


def _file_system(address: str) -> tuple[Any, str]:
    """Return the file system of this process; fsspec keeps one for each process and thread."""
    import fsspec

    if not is_url(address):
        return fsspec.filesystem("file"), str(Path(address).absolute())
    if not address.startswith(("http://", "https://")):
        return fsspec.url_to_fs(address)
    import aiohttp

    # By default aiohttp gives up after five minutes, however well the bytes of a shard arrive.
    patience = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
    return fsspec.url_to_fs(address, client_kwargs={"timeout": patience})


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "not found; check the address and the pattern"
    if isinstance(error, ImportError):
        return f"this kind of address needs another package: {error}"
    text = str(error).splitlines()[0] if str(error) else ""
    return f"cannot be read ({type(error).__name__}{': ' if text else ''}{text})"
