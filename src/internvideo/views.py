"""From the videos that a user names to the input of a model, read a few ahead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import VideoError
from internvideo.video import Video, find_videos
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.sources import is_url

__all__ = ["AnyVideo", "expand_videos", "read_views"]

AnyVideo: TypeAlias = "str | os.PathLike[str] | bytes | Video | Tensor | np.ndarray"
"""A path or URL, an encoded file, an opened `Video`, or uint8 RGB frames "t h w c"."""

_READ_AHEAD = 4


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


class _Frames:
    """Frames in memory that look like a video to `Preprocessing.load`."""

    def __init__(self, frames: Tensor | np.ndarray) -> None:
        tensor = torch.from_numpy(frames) if isinstance(frames, np.ndarray) else frames
        if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[-1] != 3:
            raise VideoError(
                "frames must be a uint8 tensor (time, height, width, 3), got "
                f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            )
        if not len(tensor):
            raise VideoError("frames are empty: a video needs at least one")
        self.tensor = tensor
        self.num_frames = len(tensor)
        self.fps = 30.0

    def frames(self, indices: Sequence[int], /) -> UInt8[Tensor, "t h w c"]:
        return self.tensor[torch.as_tensor(indices, device=self.tensor.device)]


def read_views(
    videos: Iterable[AnyVideo], protocol: Preprocessing
) -> Iterator[tuple[str, Tensor | VideoError]]:
    """Yield the views of each video in order, decoding a few ahead of the reader."""
    videos = iter(videos)
    with ThreadPoolExecutor(min(_READ_AHEAD, os.cpu_count() or 1)) as pool:
        pending: list[Future] = []
        try:
            pending += [pool.submit(_read, v, protocol) for v in islice(videos, 2 * _READ_AHEAD)]
            while pending:
                item = pending.pop(0).result()
                pending += [pool.submit(_read, v, protocol) for v in islice(videos, 1)]
                yield item
        finally:
            for future in pending:
                future.cancel()


def _read(
    video: AnyVideo, protocol: Preprocessing
) -> tuple[str, Float[Tensor, "v c t h w"] | VideoError]:
    """Return name and views of a video, or why there are none."""
    name = video if isinstance(video, str) else str(getattr(video, "name", "<video>"))
    try:
        if isinstance(video, Tensor | np.ndarray):
            return "<frames>", protocol.load(_Frames(video))
        if isinstance(video, Video):
            return video.name, protocol.load(video)
        if isinstance(video, os.PathLike):
            name = os.fspath(video)
        with Video(video) as opened:
            return name if isinstance(video, str | os.PathLike) else opened.name, protocol.load(
                opened
            )
    except VideoError as error:
        return name, error
