"""From the videos that a user names to the input of a model, read a few ahead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from torch import Tensor

from internvideo.errors import VideoError
from internvideo.video import Video, find_videos
from internvideo.video.frames import FramesInMemory
from internvideo.video.preprocessing import FrameSource, Preprocessing
from internvideo.video.read_ahead import in_background, read_ahead
from internvideo.video.sources import is_url
from internvideo.video.windows import VideoWindow, sliding_windows, spans

__all__ = ["AnyVideo", "expand_videos", "open_video", "read_views", "read_windows"]

AnyVideo: TypeAlias = "str | os.PathLike[str] | bytes | Video | Tensor | np.ndarray"
"""A path or URL, an encoded file, an opened `Video`, or uint8 RGB frames "t h w c"."""

_READ_AHEAD = 4
_WINDOWS = 4  # that are answered together: more are faster, but answer later


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
        if is_url(name) or not Path(name).is_dir():
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
            yield _name(video) or opened.name, opened


def read_views(
    videos: Iterable[AnyVideo], protocol: Preprocessing
) -> Iterator[tuple[str, Tensor | VideoError]]:
    """Yield the views of each video in order, decoding a few ahead of the reader."""
    threads = min(_READ_AHEAD, os.cpu_count() or 1)
    return read_ahead(
        lambda video: _read(video, protocol), videos, threads=threads, depth=2 * _READ_AHEAD
    )


def read_windows(
    video: AnyVideo,
    protocol: Preprocessing,
    *,
    window: float | None = None,
    stride: float | None = None,
    in_frames: bool = False,
) -> Iterator[list[VideoWindow]]:
    """Yield the windows of a long video in order, a few together, decoded ahead of the reader.

    The arguments are those of `video.windows.spans`.

    Raises:
        VideoError: the video cannot be read, or not further; all windows before have been yielded.
    """
    with open_video(video) as (_, opened):
        plan = spans(opened, protocol, window=window, stride=stride, in_frames=in_frames)
        windows = sliding_windows(opened, protocol, plan)
        part: list[VideoWindow] = []
        try:
            for each in in_background(windows, depth=2 * _WINDOWS):
                part.append(each)
                if len(part) == _WINDOWS:
                    yield part
                    part = []
        except VideoError:
            if part:
                yield part
            raise
        if part:
            yield part


def _read(
    video: AnyVideo, protocol: Preprocessing
) -> tuple[str, Float[Tensor, "v c t h w"] | VideoError]:
    """Return name and views of a video, or why there are none."""
    try:
        with open_video(video) as (name, opened):
            return name, protocol.load(opened)
    except VideoError as error:
        return _name(video) or str(getattr(video, "name", "<video>")), error


def _name(video: AnyVideo) -> str | None:
    return os.fspath(video) if isinstance(video, str | os.PathLike) else None
