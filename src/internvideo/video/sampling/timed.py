"""Frames by the clock: so many a second, wherever that falls among the frames of the file."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from internvideo.errors import ConfigError, VideoError
from internvideo.video.sampling.indices import FrameIndices, check_counts
from internvideo.video.sampling.sparse import linspace_indices

__all__ = ["fps_indices", "per_second_indices", "whole_second_indices"]


def fps_indices(
    num_frames: int, *, fps: float, rate: float, max_frames: int | None = None
) -> FrameIndices:
    """Take the frame at the centre of every window of `1 / rate` seconds.

    Args:
        num_frames: frames in the video.
        fps: frame rate of the video.
        rate: sampled frames per second.
        max_frames: keep at most this many, from the start; None keeps all.

    Returns:
        Indices `(n,)`, at least one.

    Source: ViCLIP sampling "fpsX" (fixture `viclip-text`, frame_indices.fps).
    """
    check_counts(num_frames)
    _check_rates(fps, rate)
    window = 1 / rate
    duration = num_frames / fps
    seconds = np.arange(window / 2, duration + window / 2, window)
    indices = np.around(seconds * fps).astype(np.int64)
    indices = indices[indices < num_frames][:max_frames]
    return indices if len(indices) else np.array([num_frames // 2], dtype=np.int64)


def per_second_indices(
    num_frames: int,
    *,
    fps: float,
    max_frames: int,
    rate: float = 1.0,
    start: float | None = None,
    end: float | None = None,
) -> FrameIndices:
    """Take about `rate` frames per second of `[start, end]`, thinned evenly to `max_frames`.

    Args:
        num_frames: frames in the video.
        fps: frame rate of the video.
        max_frames: upper bound of the number of frames.
        rate: frames per second before thinning.
        start: begin in seconds; None is 0.
        end: end in seconds, None is the end of the video; swapped with `start` when smaller,
            one second later when equal.

    Returns:
        Indices `(n,)`, 1 <= n <= max_frames; the caller pads short clips and masks the padding.

    Source: retrieval loaders over decord (fixture `retrieval-frame-sampling`, fn decord).
    """
    check_counts(num_frames, max_frames=max_frames)
    _check_rates(fps, rate)
    begin, stop = _ordered_seconds(start, end)
    first = min(int(begin * fps), num_frames - 1)
    last = num_frames - 1 if stop is None else int(min(stop * fps, num_frames - 1))
    step = max(round(fps / rate), 1)
    return _thin(np.arange(first, max(last, first) + 1, step, dtype=np.int64), max_frames)


def whole_second_indices(
    num_frames: int,
    *,
    fps: float,
    max_frames: int,
    rate: int = 1,
    start: int | None = None,
    end: int | None = None,
    keep: Literal["head", "tail", "even"] = "even",
) -> FrameIndices:
    """Take `rate` frames of each whole second, with the frame rate rounded down to an integer.

    At fractional rates the rule drifts from true seconds; kept for the data sets whose published
    numbers rest on it (MSVD, ActivityNet retrieval). Arguments are those of `per_second_indices`;
    `keep` chooses which frames survive when there are more than `max_frames`.

    Returns:
        Indices `(n,)`, 1 <= n <= max_frames.

    Source: retrieval loaders over OpenCV (fixture `retrieval-frame-sampling`, fn cv2).
    """
    check_counts(num_frames, max_frames=max_frames)
    _check_rates(fps, rate)
    whole_fps = max(int(fps), 1)
    step = max(whole_fps // rate, 1)
    begin, stop = _ordered_seconds(start, end)
    stop = math.ceil(num_frames / whole_fps) if stop is None else stop
    seconds = np.arange(int(begin), int(stop) + 1, dtype=np.int64)
    in_second = np.arange(0, whole_fps, step, dtype=np.int64)[:rate]
    indices = (seconds[:, None] * whole_fps + in_second).ravel()
    indices = indices[indices < num_frames]
    if len(indices) == 0:
        indices = np.array([num_frames - 1], dtype=np.int64)
    if keep == "head":
        return indices[:max_frames]
    if keep == "tail":
        return indices[-max_frames:]
    return _thin(indices, max_frames)


def _check_rates(fps: float, rate: float) -> None:
    if not fps > 0:
        raise VideoError(f"the frame rate of the video is {fps}; it must be positive")
    if not rate > 0:
        raise ConfigError(f"rate is {rate} frames per second; it must be positive")


def _ordered_seconds(start: float | None, end: float | None) -> tuple[float, float | None]:
    """Return the time span with its ends in order and at least one second apart when equal."""
    begin = max(start or 0, 0)
    if end is None:
        return begin, None
    end = max(end, 0)
    if end == begin:
        return begin, begin + 1
    return min(begin, end), max(begin, end)


def _thin(indices: FrameIndices, max_frames: int) -> FrameIndices:
    """Keep `max_frames` evenly spread entries, the first and the last among them."""
    if len(indices) <= max_frames:
        return indices
    return indices[linspace_indices(len(indices), clip_length=max_frames)]
