"""Which frames are around a key frame: of a video, of files of one second, of a part of a video.

Source: the readers of AVA and AVA-Kinetics in AlphAction (fixture `stal-windows`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

__all__ = ["clip_indices", "middle_frame", "second_window", "stretched_window"]


def second_window(count: Callable[[int], int], timestamp: int, span: int) -> list[tuple[int, int]]:
    """Return (second, frame in it) of the frames around the start of a second, in their order.

    Whole seconds are taken on both sides until each has half of the span; the longer side is then
    cut, so that the first frame of the second is in the middle.

    Args:
        count: frames in the file of a second; 0 where there is none.
        timestamp: the second.
        span: frames that a clip spans.
    """
    half = span // 2
    right: list[tuple[int, int]] = []
    second = timestamp
    while len(right) < half and (number := count(second)):
        right += [(second, frame) for frame in range(number)]
        second += 1
    left: list[tuple[int, int]] = []
    second = timestamp - 1
    while len(left) < half and (number := count(second)):
        left = [(second, frame) for frame in range(number)] + left
        second -= 1
    shorter = min(len(left), len(right))
    return left[len(left) - shorter :] + right[:shorter]


def clip_indices(num_frames: int, *, clip_length: int, frame_stride: int) -> Int[np.ndarray, " t"]:
    """Return the frames of a window that make a clip: in its middle, a stride apart."""
    start = (num_frames - clip_length * frame_stride) // 2 + (frame_stride - 1) // 2
    indices = start + frame_stride * np.arange(clip_length)
    return np.clip(indices, 0, num_frames - 1)


def middle_frame(time: float, duration: float, num_frames: int) -> int:
    """Return the frame of a part of a video that is at a time, in seconds from its start."""
    return int(time / duration * num_frames)


def stretched_window(
    frames: UInt8[Tensor, "n h w 3"], middle: int, span: int
) -> UInt8[Tensor, "s h w 3"]:
    """Return the window around a frame; a side that is too short is stretched to its length.

    Args:
        frames: of the whole part of the video.
        middle: number of the key frame.
        span: frames of the window.
    """
    half = span // 2
    left, right = frames[max(middle - half, 0) : middle], frames[middle : middle + half]
    sides = [_stretched(side, half) if len(side) else side for side in (left, right)]
    return torch.cat(sides)


def _stretched(frames: UInt8[Tensor, "n h w 3"], length: int) -> UInt8[Tensor, "m h w 3"]:
    if len(frames) == length:
        return frames
    volume = frames.permute(3, 0, 1, 2)[None].float()
    size = (length, *volume.shape[-2:])
    found = F.interpolate(volume, size=size, mode="trilinear", align_corners=False)
    return found[0].permute(1, 2, 3, 0).to(torch.uint8)
