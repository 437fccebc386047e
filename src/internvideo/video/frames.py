"""What looks like a video to `Preprocessing.load`: frames in memory, and a part of a video."""

# ruff: noqa: D102 - the methods are documented in `preprocessing.FrameSource`
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from internvideo.errors import VideoError
from internvideo.video.preprocessing import FrameSource

__all__ = ["FramesInMemory", "Window"]


class FramesInMemory:
    """Frames in memory, on any device.

    Args:
        frames: uint8 RGB "t h w c".
        fps: frames per second.

    Raises:
        VideoError: another type or shape, or no frames.
    """

    def __init__(self, frames: Tensor | np.ndarray, *, fps: float = 30.0) -> None:
        tensor = torch.from_numpy(frames) if isinstance(frames, np.ndarray) else frames
        if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[-1] != 3:
            raise VideoError(
                "frames must be a uint8 tensor (time, height, width, 3), got "
                f"{tensor.dtype} of shape {tuple(tensor.shape)}"
                + ("; stack a list of frames: np.stack(frames)" if tensor.ndim == 3 else "")
            )
        if not len(tensor):
            raise VideoError("frames are empty: a video needs at least one")
        self._frames = tensor
        self.num_frames = len(tensor)
        self.fps = fps

    def frames(self, indices: Sequence[int], /) -> UInt8[Tensor, "t h w c"]:
        return self._frames[torch.as_tensor(indices, device=self._frames.device)]


class Window:
    """Some consecutive frames of a video.

    Args:
        video: the whole video.
        first: its frame that is frame 0 here.
        num_frames: how many.
    """

    def __init__(self, video: FrameSource, first: int, num_frames: int) -> None:
        self._video, self._first = video, first
        self.num_frames, self.fps = num_frames, video.fps

    def frames(self, indices: Sequence[int], /) -> UInt8[Tensor, "t h w c"]:
        return self._video.frames([self._first + index for index in indices])
