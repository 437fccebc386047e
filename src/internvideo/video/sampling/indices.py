"""What the rules share: the type of their answer, their draws, and what they refuse."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from internvideo.errors import ConfigError, VideoError

__all__ = ["FrameIndices", "NumpyRandom", "check_counts", "draw_integers", "pad_with_last"]

FrameIndices: TypeAlias = NDArray[np.int64]
"""0-based frames of a video: one clip `(t,)`, or several `(clips, t)`."""

NumpyRandom: TypeAlias = np.random.Generator | np.random.RandomState
"""Either kind of numpy generator; the legacy one replays the draws of the official code."""


def check_counts(num_frames: int, **counts: int) -> None:
    """Refuse empty videos and counts below one.

    Raises:
        VideoError: the video has no frames.
        ConfigError: a count is below one; the message has its name.
    """
    if num_frames < 1:
        raise VideoError(f"cannot sample frames from a video that has {num_frames} frames")
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")


def draw_integers(
    rng: NumpyRandom, low: int | FrameIndices, high: int | FrameIndices, size: int | None = None
) -> FrameIndices:
    """Draw from `[low, high)`: `size` integers, or one for each entry of `low` and `high`."""
    draw = rng.randint if isinstance(rng, np.random.RandomState) else rng.integers
    return np.asarray(draw(low, high, size=size), dtype=np.int64)


def pad_with_last(indices: FrameIndices, clip_length: int) -> FrameIndices:
    """Repeat the last index until the clip `(clip_length,)` is full."""
    return np.pad(indices, (0, max(clip_length - len(indices), 0)), mode="edge")
