"""Where the bytes of a video come from: a path, an address, bytes, or an open binary file.

`resolve_source` turns what a user passes to `Video` into a `Source`, which can be opened again and
again (after pickling, after a fork, after an error) and knows a short name for messages.
"""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from internvideo.errors import VideoError

__all__ = ["Source", "VideoSource", "is_url", "local_path", "resolve_source"]

VideoSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO"

# A read of this size is one request to an object store, and one call into Python.
_REMOTE_BLOCK = 1 << 18
_MEMORY_BLOCK = 1 << 16


def is_url(source: object) -> bool:
    """Return whether `source` is an address for fsspec (`s3://…`, `zip://…::file://…`)."""
    return isinstance(source, str) and "://" in source


def local_path(source: str | os.PathLike[str]) -> Path:
    """Return a path with `~/` or `~user/` at its start replaced by the home folder.

    A file of that very name comes first, and what names no user's home is left as it is.
    """
    path = Path(source)
    if len(path.parts) < 2 or path.parts[0][:1] != "~" or os.path.lexists(path):
        return path
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises


@dataclass(frozen=True, slots=True)
class Source:
    """One place that video bytes come from; exactly one of the fields after `name` is set.

    Attributes:
        name: what messages call the video: file name, address or "<bytes>".
        path: a file or a folder on this machine.
        url: an address that fsspec can open.
        data: the encoded file itself.
        file: a seekable binary file object that belongs to the caller and is never closed here.
    """

    name: str
    path: Path | None = None
    url: str | None = None
    data: bytes | None = None
    file: BinaryIO | None = None

    def check(self) -> None:
        """Raise `VideoError` for what can be seen without opening: missing or empty files."""
        if self.path is not None:
            try:
                status = self.path.stat()
            except FileNotFoundError:
                if self.path.is_symlink():
                    target = os.readlink(self.path)  # noqa: PTH115 - as it is written
                    raise VideoError(
                        f"{self.path}: a link to {target}, which is not there; mend the link"
                    ) from None
                raise VideoError(
                    f"{self.path}: no such file or folder; check the path{self._nearby()}"
                ) from None
            except (OSError, ValueError) as error:
                raise VideoError(f"{self.path}: cannot be read ({error})") from error
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                what = "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device or socket"
                raise VideoError(f"{self.path}: {what}, not a file; save the video to a file first")
            if status.st_size == 0 and stat.S_ISREG(status.st_mode):
                raise VideoError(f"{self.path}: the file is empty (0 bytes); copy it again")
        if self.data is not None and not self.data:
            raise VideoError(f"{self.name}: the data is empty (0 bytes)")

    def _nearby(self) -> str:
        from internvideo.errors import did_you_mean

        assert self.path is not None
        try:
            siblings = [entry.name for entry in self.path.parent.iterdir()]
        except OSError:
            return ""
        hint = did_you_mean(self.path.name, siblings, count=1)
        return f".{hint}" if hint else ""

    def open(self) -> IO[bytes]:
        """Return a new seekable binary file positioned at the start.

        Raises:
            VideoError: it cannot be opened; the message says what the storage answered.
        """
        if self.data is not None:
            return io.BytesIO(self.data)
        if self.file is not None:
            return _Borrowed(self.file)  # type: ignore[return-value]
        if self.path is not None:
            try:
                return self.path.open("rb")
            except OSError as error:
                raise VideoError(f"{self.path}: cannot be read ({error.strerror})") from error
        return self._open_url()

    def _open_url(self) -> IO[bytes]:
        assert self.url is not None
        import fsspec

        try:
            opened = fsspec.open(self.url, "rb").open()  # type: ignore[union-attr]
            try:
                opened.seek(0, io.SEEK_END)
                opened.seek(0)
            except (ValueError, OSError):
                # A server without range requests: the only way to random access is a copy.
                with opened:
                    return io.BytesIO(opened.read())
            return opened  # type: ignore[return-value]
        except Exception as error:  # every storage driver raises its own types
            address = self.url.partition("?")[0]  # what follows may be a secret
            raise VideoError(f"{address}: {_why_not_opened(error)}") from error

    @property
    def block_size(self) -> int:
        """Bytes that a decoder should read at once through `open()`."""
        return _REMOTE_BLOCK if self.url is not None else _MEMORY_BLOCK

    def portable(self) -> Source:
        """Return a source that another process can open; file objects become their bytes."""
        if self.file is None:
            return self
        return Source(name=self.name, data=_Borrowed(self.file).read())

    def after_fork(self) -> Source:
        """Return a source that a forked child may use, whose files share no position with others.

        Raises:
            VideoError: it is an open file without a path.
        """
        if self.file is None:
            return self
        path = getattr(self.file, "name", None)
        if isinstance(path, (str, os.PathLike)) and Path(path).is_file():
            return Source(name=self.name, path=Path(path).absolute())
        raise VideoError(
            f"{self.name}: an open file object cannot be read from a forked process; "
            "pass a path, an address or bytes"
        )


def resolve_source(source: VideoSource, *, name: str | None = None) -> Source:
    """Return the `Source` for a path, address, bytes-like object or binary file object.

    Args:
        source: what the user gave; `file://` addresses are paths; anything else with a `scheme://`
            goes through fsspec.
        name: what messages should call it.

    Raises:
        VideoError: the type is none of these, or a text file object.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Source(name=name or "<bytes>", data=bytes(source))
    if isinstance(source, str) and is_url(source):
        if source.startswith("file://") and "::" not in source:
            path = Path(url2pathname(urlsplit(source).path))
            return Source(name=name or path.name, path=path.absolute())
        last = unquote(urlsplit(source.split("::")[0]).path.rstrip("/").rpartition("/")[2])
        return Source(name=name or last or source, url=source)
    if isinstance(source, (str, os.PathLike)):
        path = local_path(source)
        return Source(name=name or path.name or str(path), path=path.absolute())
    if hasattr(source, "read"):
        return _resolve_file(source, name)
    raise VideoError(
        f"a video can be a path, an address, bytes or a binary file, not {type(source).__name__}; "
        "of a list of pictures np.stack makes frames (time, height, width, 3)"
    )


def _resolve_file(file: Any, name: str | None) -> Source:
    label = getattr(file, "name", None)
    name = name or (Path(label).name if isinstance(label, str) else f"<{type(file).__name__}>")
    if isinstance(file, io.TextIOBase):
        raise VideoError(f"{name}: opened as text; open video files in binary mode ('rb')")
    if type(file) is io.BytesIO:
        return Source(name=name, data=file.getvalue())
    seekable = getattr(file, "seekable", None)
    if not hasattr(file, "seek") or (seekable is not None and not seekable()):
        return Source(name=name, data=file.read())
    return Source(name=name, file=file)


def _why_not_opened(error: Exception) -> str:
    """Return what a storage driver's error means; HTTP hides the cause behind 'file not found'."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    status = getattr(cause, "status", None)
    if status == 404 or (cause is error and isinstance(error, FileNotFoundError)):
        return "not found (404); check the address"
    if isinstance(error, ImportError):
        return f"this kind of address needs another package: {error}"
    if status is not None:
        return f"the server answers {status} ({getattr(cause, 'message', '')})"
    reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    return f"cannot be opened ({reason})"


class _Borrowed(io.RawIOBase):
    """A view with its own position on a file object that belongs to somebody else."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        self._file.seek(self._position)
        data = self._file.read(size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset = self._file.seek(offset, io.SEEK_END)
        if offset < 0:
            raise ValueError(f"negative seek position {offset}")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position
