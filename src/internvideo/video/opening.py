"""What a user may call a video: paths, URLs, bytes, folders, `Video` objects, frames in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, cast

import numpy as np
from torch import Tensor

from internvideo.errors import VideoError
from internvideo.video import Video, find_videos
from internvideo.video.frames import FramesInMemory
from internvideo.video.preprocessing import FrameSource
from internvideo.video.sources import is_url, local_path

__all__ = ["AnyVideo", "as_list", "expand_videos", "name_of", "open_video"]

AnyVideo: TypeAlias = str | os.PathLike[str] | bytes | Video | Tensor | np.ndarray
"""A path or URL, an encoded file, an opened `Video`, or uint8 RGB frames "t h w c"."""


def expand_videos(names: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the videos that names stand for, each once, and the folders that hold none.

    A folder stands for all videos in it and below. What is no folder is a video, whether it exists
    or not: that shows when it is opened, so that the others are still answered.

    Returns:
        The videos, and (name, reason) of each folder without videos.
    """
    videos: list[str] = []
    failures: list[tuple[str, str]] = []
    for name in names:
        if is_url(name) or not local_path(name).is_dir():
            videos.append(name)
            continue
        try:
            videos += [str(path) for path in find_videos(name)]
        except VideoError as error:
            failures.append((name, str(error)))
    return list(dict.fromkeys(videos)), failures


@contextmanager
def open_video(video: AnyVideo) -> Iterator[tuple[str, FrameSource]]:
    """Open what a user calls a video; yield its name and its frames.

    Raises:
        VideoError: it cannot be opened.
    """
    if isinstance(video, Tensor | np.ndarray):
        yield "<frames>", FramesInMemory(video)
    elif isinstance(video, Video):
        yield video.name, video
    else:
        with Video(video) as opened:
            named = isinstance(video, str | os.PathLike)
            yield os.fspath(video) if named else opened.name, opened


def name_of(video: AnyVideo) -> str:
    """Return what to call a video that may not have been opened."""
    if isinstance(video, str | os.PathLike):
        return os.fspath(video)
    return str(getattr(video, "name", "<video>"))


def as_list(videos: AnyVideo | Sequence[AnyVideo]) -> list[AnyVideo]:
    """Return one video or several as a list; five-dimensional frames are several clips.

    Raises:
        VideoError: what is given is neither.
    """
    if isinstance(videos, Tensor | np.ndarray):
        return list(videos) if videos.ndim == 5 else [videos]
    if isinstance(videos, str | bytes | os.PathLike | Video):
        return [cast(AnyVideo, videos)]
    if not isinstance(videos, Iterable):
        raise VideoError(
            "a video is a path, a URL, bytes, a Video, or uint8 frames (time, height, width, 3); "
            f"got {type(videos).__name__}"
        )
    return list(cast("Sequence[AnyVideo]", videos))
