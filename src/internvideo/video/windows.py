"""Sliding windows over a video of any length, in bounded memory.

    frames   0 ───────────────────────────────────────────────► n
    windows  [──── 0 ────]
                   [──── 1 ────]          every frame is decoded once at most, in order
                         [──── 2 ────]

Only the resized frames that the present window and its successors need are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.video.preprocessing import FrameSource, Preprocessing

__all__ = ["Resampled", "Spans", "VideoWindow", "sliding_windows", "spans", "window_protocol"]

_PIECE = 16  # frames of full size that are in memory together
_DEFAULT_SECONDS = 2.0


class VideoWindow(NamedTuple):
    """One window of a video, prepared for a model.

    Attributes:
        start: seconds from the start of the video, at its average frame rate.
        end: likewise.
        clip: "c t h w", normalised.
    """

    start: float
    end: float
    clip: Float[Tensor, "c t h w"]


@dataclass(frozen=True, slots=True)
class Resampled:
    """A video at another frame rate: of each moment, the frame that is shown then."""

    video: FrameSource
    fps: float

    @property
    def num_frames(self) -> int:
        """Number of frames at this rate, at least one."""
        return max(int(self.video.num_frames / self.video.fps * self.fps + 1e-6), 1)

    def frames(self, indices: Sequence[int], /) -> UInt8[Tensor, "t h w c"]:
        """Return the RGB frames at these indices."""
        last, scale = self.video.num_frames - 1, self.video.fps / self.fps
        wanted = [min(int(index * scale + 1e-6), last) for index in indices]
        found, places = np.unique(wanted, return_inverse=True)
        return self.video.frames(found.tolist())[torch.from_numpy(places)]


@dataclass(frozen=True, slots=True)
class Spans:
    """The windows of a video: `count` times `length` frames, every `stride` frames.

    A video shorter than a window is one window.

    Attributes:
        covers_end: the last window is moved back so that it ends with the video; else the frames
            behind the last whole stride are left out.
    """

    num_frames: int
    length: int
    stride: int
    covers_end: bool = True

    @property
    def count(self) -> int:
        """Number of windows."""
        room = max(self.num_frames - self.length, 0)
        return (-(-room // self.stride) if self.covers_end else room // self.stride) + 1

    def start(self, index: int) -> int:
        """Return the first frame of a window."""
        return min(index * self.stride, max(self.num_frames - self.length, 0))


def spans(
    video: FrameSource,
    protocol: Preprocessing,
    *,
    window: float | None = None,
    stride: float | None = None,
    in_frames: bool = False,
) -> Spans:
    """Return the windows that a length and a stride mean for a video.

    Args:
        video: its length and frame rate are used.
        protocol: gives the length where there is none: as many frames as its clip covers, and two
            seconds where the clip covers the whole video whatever its length.
        window: length, in seconds.
        stride: from the start of a window to that of the next, in seconds; None is one window.
        in_frames: both count frames instead.

    Raises:
        ConfigError: a length or stride that is not positive.
    """
    for name, value in (("window", window), ("stride", stride)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value:g}; it must be positive")
    rate = 1.0 if in_frames else video.fps
    length = _covered(protocol, video.fps) if window is None else max(round(window * rate), 1)
    length = min(length, video.num_frames)
    step = length if stride is None else max(round(stride * rate), 1)
    return Spans(video.num_frames, length, step)


def window_protocol(protocol: Preprocessing) -> Preprocessing:
    """Return how a window is looked at: one clip of the protocol, and its central crop."""
    return replace(protocol, num_clips=1, num_crops=1)


def _covered(protocol: Preprocessing, fps: float) -> int:
    """Return how many frames of the video a clip of the protocol covers."""
    if protocol.is_timed:
        return max(round(protocol.num_frames / (protocol.frame_rate or 1) * fps), 1)
    if protocol.sampling not in ("dense", "center"):
        return max(round(_DEFAULT_SECONDS * fps), 1)
    stride = float(protocol.frame_stride)
    if protocol.frame_rate is not None:
        stride = max(round(stride * fps / protocol.frame_rate), 1)
    return round(protocol.num_frames * stride)


def sliding_windows(
    video: FrameSource, protocol: Preprocessing, windows: Spans, *, first: int = 0
) -> Iterator[VideoWindow]:
    """Yield the windows of a video in order, each through one clip and the central crop.

    Args:
        video: opened; decoded from the first frame to the last, without going back.
        protocol: frames of a clip, resolution, statistics; `sampling` acts within a window.
        windows: from `spans`.
        first: number of the window to begin with.

    Raises:
        VideoError: a frame cannot be decoded; the windows before it have been yielded.
    """
    protocol = window_protocol(protocol)
    picked = protocol.sample(windows.length, video.fps)[0]
    offsets = np.unique(picked)
    kept: dict[int, Tensor] = {}
    decoded = 0
    for index in range(first, windows.count):
        start = windows.start(index)
        end = start + windows.length
        wanted = _wanted(windows, index, offsets, max(decoded, start), end)
        for at in range(0, len(wanted), _PIECE):
            piece = wanted[at : at + _PIECE].tolist()
            kept.update(zip(piece, protocol.resize(video.frames(piece)), strict=True))
        decoded = max(decoded, end)
        clip = torch.stack([kept[start + int(offset)] for offset in picked])
        yield VideoWindow(start / video.fps, end / video.fps, protocol.normalize(clip))
        if index + 1 < windows.count:
            following = windows.start(index + 1)
            kept = {number: frame for number, frame in kept.items() if number >= following}


def _wanted(windows: Spans, index: int, offsets: np.ndarray, start: int, end: int) -> np.ndarray:
    """Return the frames from `start` to `end` that a window or one of its successors needs."""
    needed = []
    while index < windows.count and windows.start(index) < end:
        needed.append(windows.start(index) + offsets)
        index += 1
    frames = np.unique(np.concatenate(needed))
    return frames[(frames >= start) & (frames < end)]
