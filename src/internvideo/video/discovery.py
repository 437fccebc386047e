"""Finding the videos that a user means by files, folders and addresses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from internvideo.errors import VideoError
from internvideo.video.rawframes import IMAGE_SUFFIXES, is_animated_webp, natural_key
from internvideo.video.sources import is_url, local_path, resolve_source

__all__ = ["VIDEO_SUFFIXES", "find_videos"]

VIDEO_SUFFIXES = frozenset(
    {
        ".mp4",
        ".m4v",
        ".mov",
        ".qt",
        ".3gp",
        ".3g2",
        ".mkv",
        ".webm",
        ".avi",
        ".divx",
        ".flv",
        ".f4v",
        ".wmv",
        ".asf",
        ".mpg",
        ".mpeg",
        ".mpe",
        ".m2v",
        ".vob",
        ".ts",
        ".mts",
        ".m2ts",
        ".ogv",
        ".ogm",
        ".gif",
        ".apng",
        ".mxf",
        ".y4m",
        ".rm",
        ".rmvb",
        ".ivf",
        ".h264",
        ".h265",
        ".hevc",
        ".264",
        ".265",
    }
)
"""File-name endings that count as videos when a folder is searched."""


def find_videos(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path | str]:
    """Return all videos that files, folders and addresses stand for, in order.

    A file is taken as it is, whatever its ending. A folder is searched with everything below it,
    in natural order of the names, for files with a known ending and animated WebP; a folder that
    directly holds images (two or more) and no video counts as one video itself. Hidden files are
    passed over; dead links and pipes are not, so that whoever opens them says what they are. An
    address other than `file://` is returned unchanged, as a string.

    Args:
        paths: one or several files, folders and addresses. What is named twice comes once.

    Raises:
        VideoError: a path does not exist, or a folder has no videos.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    found: dict[Path | str, None] = {}
    for given in paths:
        if isinstance(given, str) and is_url(given):
            if not given.startswith("file://") or "::" in given:
                found[given] = None
                continue
            given = url2pathname(urlsplit(given).path)
        path = local_path(given)
        if not path.is_dir():
            resolve_source(path).check()
            found[path] = None
            continue
        videos = dict.fromkeys(_search(path, seen=set()))
        if not videos and _images(path):
            videos = {path: None}
        if not videos:
            raise VideoError(
                f"{path}: no videos in this folder or below it; known endings are "
                f"{' '.join(sorted(VIDEO_SUFFIXES))}"
            )
        found |= videos
    return list(found)


def _search(folder: Path, seen: set[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in seen:  # a link back up
        return
    seen.add(real)
    entries = sorted(
        (entry for entry in folder.iterdir() if not entry.name.startswith(".")),
        key=lambda entry: natural_key(entry.name),
    )
    videos = {entry for entry in entries if _is_video(entry)}
    if not videos and sum(entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries) > 1:
        yield folder
    for entry in entries:
        if entry.is_dir():
            yield from _search(entry, seen)
        elif entry in videos:
            yield entry


def _is_video(entry: Path) -> bool:
    suffix = entry.suffix.lower()
    if suffix == ".webp":
        return entry.is_file() and is_animated_webp(resolve_source(entry))
    return suffix in VIDEO_SUFFIXES and not entry.is_dir()


def _images(folder: Path) -> bool:
    return any(
        entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
        for entry in folder.iterdir()
    )
