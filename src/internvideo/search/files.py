"""Which videos there are, and whether they are still those that were indexed.

A file with the size and the time of modification that it had is the same. Where the time differs,
its content is looked at: a copy or a `touch` changes nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from internvideo.errors import VideoError
from internvideo.search.records import IndexedVideo, VideoFile
from internvideo.video.opening import expand_videos
from internvideo.video.sources import is_url, local_path, resolve_source

__all__ = ["Plan", "below", "digest", "look_at", "make_plan", "whole_path", "with_digest"]

_BLOCK = 1 << 16
_BLOCKS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What there is to do.

    Attributes:
        new: videos that the library does not have.
        changed: videos whose content is another than when they were indexed.
        unchanged: how many need nothing.
        vanished: paths in the library, below the folders that were named, where no video is now.
        failures: (name, reason) of what is no video.
    """

    new: Sequence[VideoFile]
    changed: Sequence[VideoFile]
    unchanged: int
    vanished: Sequence[str]
    failures: Sequence[tuple[str, str]]


def make_plan(names: Sequence[str], indexed: Mapping[str, IndexedVideo]) -> Plan:
    """Compare the videos that files, folders and addresses stand for with those in a library."""
    paths, failures = expand_videos(names)
    new: list[VideoFile] = []
    changed: list[VideoFile] = []
    found: set[str] = set()
    for path in map(whole_path, paths):
        found.add(path)
        known = indexed.get(path)
        try:
            file = look_at(path)
            if known is None:
                new.append(file)
            elif not _is_same(file, known.file):
                changed.append(file)
        except VideoError as error:
            if known is None or Path(path).exists():
                failures.append((path, str(error)))
            else:
                found.discard(path)
    vanished = [path for path in below(names, indexed) if path not in found]
    unchanged = len(found & set(indexed)) - len(changed)
    return Plan(new=new, changed=changed, unchanged=unchanged, vanished=vanished, failures=failures)


def look_at(path: str) -> VideoFile:
    """Return size and time of a video, without reading it.

    Raises:
        VideoError: it is not there, or its name is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise VideoError(f"{path!r}: the name is not UTF-8; rename the file") from None
    if is_url(path):
        return _look_at_url(path)
    resolve_source(path).check()
    status = Path(path).stat()
    if Path(path).is_dir():
        return VideoFile(path=path, size=len(_frame_files(path)), modified=status.st_mtime)
    return VideoFile(path=path, size=status.st_size, modified=status.st_mtime)


def _look_at_url(path: str) -> VideoFile:
    import fsspec

    try:
        system, inner = fsspec.url_to_fs(path)
        facts: dict[str, Any] = system.info(inner)
    except Exception as error:  # every storage driver raises its own types
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise VideoError(f"{path.partition('?')[0]}: cannot be looked at ({reason})") from error
    when: Any = facts.get("LastModified") or facts.get("mtime") or 0.0
    seconds = when.timestamp() if isinstance(when, datetime) else float(when)
    size = facts.get("size")
    return VideoFile(path=path, size=-1 if size is None else size, modified=seconds)


def digest(path: str) -> str:
    """Return a hash of the content of a video: its size and sixteen blocks spread over it.

    Of a folder of frames it is that of the names of its files.

    Raises:
        VideoError: it cannot be read.
    """
    hashed = hashlib.blake2b(digest_size=16)
    if not is_url(path) and Path(path).is_dir():
        hashed.update("\0".join(_frame_files(path)).encode("utf-8", "surrogateescape"))
        return hashed.hexdigest()
    try:
        with resolve_source(path).open() as file:
            size = file.seek(0, os.SEEK_END)
            hashed.update(size.to_bytes(8, "little"))
            for offset in np.linspace(0, max(size - _BLOCK, 0), _BLOCKS, dtype=np.int64):
                file.seek(int(offset))
                hashed.update(file.read(_BLOCK))
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror or error})") from error
    return hashed.hexdigest()


def _frame_files(folder: str) -> list[str]:
    return sorted(each.name for each in Path(folder).iterdir() if not each.name.startswith("."))


def with_digest(file: VideoFile) -> VideoFile:
    """Return the record of a video with its digest, see `digest`."""
    return replace(file, digest=digest(file.path))


def _is_same(file: VideoFile, known: VideoFile) -> bool:
    if file.size != known.size:
        return False
    return file.modified == known.modified or digest(file.path) == known.digest


def whole_path(name: str) -> str:
    """Return an absolute path as it is kept in a library; an address stays as it is."""
    if is_url(name) and not name.startswith("file://"):
        return name
    path = resolve_source(name).path if is_url(name) else local_path(name)
    return os.path.abspath(path or name)  # noqa: PTH100 - links stay


def below(names: Sequence[str], indexed: Iterable[str]) -> Iterator[str]:
    """Yield the indexed paths that one of the names stands for, or a folder that is named."""
    roots = [whole_path(name) for name in names]
    for path in indexed:
        if any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots):
            yield path
