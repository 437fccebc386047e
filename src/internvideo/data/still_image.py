"""A still image as a video of one frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import UInt8
from torch import Tensor

from internvideo.errors import VideoError
from internvideo.video.rawframes import load_picture
from internvideo.video.sources import VideoSource, resolve_source

__all__ = ["StillImage"]


class StillImage:
    """An image file, an address or the bytes of one, opened when its frame is asked for.

    Args:
        source: what `internvideo.video.Video` takes.
        name: what messages call it; by default its file name.

    Raises:
        VideoError: the file is missing or empty.
    """

    num_frames = 1
    fps = 1.0

    def __init__(self, source: VideoSource, *, name: str | None = None) -> None:
        self._source = resolve_source(source, name=name)
        self._source.check()

    def frames(self, indices: Sequence[int]) -> UInt8[Tensor, "t h w c"]:
        """Return the image, as often as its number 0 is asked for.

        Raises:
            VideoError: another number, or no image that can be read.
        """
        if any(index != 0 for index in indices):
            raise VideoError(f"{self._source.name}: frames {list(indices)} of a still image")
        return self._picture[None].expand(len(indices), -1, -1, -1)

    @cached_property
    def _picture(self) -> UInt8[Tensor, "h w c"]:
        with self._source.open() as file:
            return torch.from_numpy(load_picture(file, name=self._source.name).copy())

    def __enter__(self) -> StillImage:
        return self

    def __exit__(self, *exception: object) -> None:
        pass
