"""Bytes of shards: from a folder, from a server by range requests, or by way of a local cache."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from filelock import FileLock

from internvideo.data.shard_index import shard_path
from internvideo.errors import DataError, VideoError

__all__ = ["CachedShards", "LocalShards", "RemoteShards", "ShardStorage", "file_sha256"]

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_ATTEMPTS = 4
_FIRST_WAIT = 0.5
_SILENCE = 60.0
_HEADER_BLOCK = 1 << 16
_HASH_BLOCK = 1 << 20


class ShardStorage(Protocol):
    """Where the bytes of shards come from; a copy in another process works."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return some bytes of a shard.

        Raises:
            VideoError: they cannot be had.
        """
        ...

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """Return a seekable file and its size, for scanning.

        Raises:
            DataError: there is no such shard.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalShards:
    """Shards in a folder."""

    folder: Path

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return some bytes of a shard."""
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise VideoError(f"{self.folder / name}: cannot be read ({error.strerror})") from error
        return _whole(data, size, shard_path(self.folder, name), offset)

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """Return a file for scanning."""
        path = self.folder / name
        try:
            return path.open("rb"), path.stat().st_size
        except OSError as error:
            raise DataError(f"no shard {path} ({error.strerror}); check the pattern") from None


@dataclass(frozen=True, slots=True)
class RemoteShards:
    """Shards at an address that fsspec knows (https://, s3://, …); only what is read is sent."""

    base: str

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return some bytes of a shard."""
        address = shard_path(self.base, name)

        def fetch() -> bytes:
            filesystem, path = _filesystem(address)
            return filesystem.cat_file(path, start=offset, end=offset + size)

        try:
            data = _with_patience(fetch, address)
        except Exception as error:  # every storage driver raises its own types
            raise VideoError(f"{address}: {_reason(error)}") from error
        if len(data) > size:
            raise VideoError(
                f"{address}: the server sends the whole file where a range was asked for; "
                "set a cache folder, so that shards are fetched once"
            )
        return _whole(data, size, address, offset)

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """Return a file for scanning."""
        address = shard_path(self.base, name)

        def fetch() -> tuple[IO[bytes], int]:
            filesystem, path = _filesystem(address)
            return filesystem.open(path, "rb", block_size=_HEADER_BLOCK), filesystem.size(path)

        try:
            return _with_patience(fetch, address)
        except Exception as error:
            raise DataError(f"{address}: {_reason(error)}") from error


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
        self.base = base
        self.max_bytes = max_bytes
        self.sha256 = sha256 or {}
        digest = hashlib.sha256(base.partition("?")[0].encode()).hexdigest()[:12]
        self.folder = Path(folder) / digest

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return some bytes of a shard, fetching it if it is not there."""
        for _ in range(_ATTEMPTS):
            self._present(name)
            try:
                return LocalShards(self.folder).read(name, offset, size)
            except VideoError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                # Another process made room between the look and the read.
        raise VideoError(
            f"{self.folder / name}: removed again and again by other processes; the cache of "
            f"{self.max_bytes:,} bytes is smaller than what they read at once"
        )

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """Return a file for scanning."""
        try:
            self._present(name)
        except VideoError as error:
            raise DataError(str(error)) from error
        return LocalShards(self.folder).open(name)

    def _present(self, name: str) -> None:
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
        address = shard_path(self.base, name)
        partial = path.with_name(f"{path.name}.part")

        def fetch() -> None:
            filesystem, remote = _filesystem(address)
            filesystem.get_file(remote, str(partial))

        try:
            _with_patience(fetch, address)
            wanted = self.sha256.get(name)
            if wanted is not None and file_sha256(partial) != wanted:
                raise VideoError(
                    f"{address}: arrived with another SHA-256 than its index says; the shard was "
                    "changed after it was indexed, or damaged"
                )
            partial.replace(path)
        except VideoError:
            raise
        except Exception as error:
            raise VideoError(f"{address}: {_reason(error)}") from error
        finally:
            partial.unlink(missing_ok=True)

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


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _filesystem(address: str) -> tuple[Any, str]:
    """Return the file system of this process; fsspec keeps one for each process and thread."""
    from fsspec.core import url_to_fs

    if not address.startswith(("http://", "https://")):
        return url_to_fs(address)
    import aiohttp

    # By default aiohttp gives up after five minutes, however well the bytes of a shard arrive.
    patience = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
    return url_to_fs(address, client_kwargs={"timeout": patience})


def _with_patience(fetch: Callable[[], _Result], address: str) -> _Result:
    """Try again after what may pass: broken connections and busy servers, not missing files."""
    wait = _FIRST_WAIT
    for attempt in range(1, _ATTEMPTS):
        try:
            return fetch()
        except (FileNotFoundError, PermissionError, ImportError, ValueError):
            raise
        except Exception as error:
            _log.info("%s: %s; attempt %d", address.partition("?")[0], _reason(error), attempt + 1)
            time.sleep(wait)
            wait *= 2
    return fetch()


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "not found; check the address and the pattern"
    if isinstance(error, ImportError):
        return f"this kind of address needs another package: {error}"
    text = str(error).splitlines()[0] if str(error) else ""
    return f"cannot be read ({type(error).__name__}{': ' if text else ''}{text})"


def _whole(data: bytes, size: int, place: str, offset: int) -> bytes:
    if len(data) != size:
        raise VideoError(
            f"{place}: {len(data)} of {size} bytes at {offset}; the shard is shorter than its "
            "index says: copy it again, or index it again"
        )
    return data
