"""Frames up to the one with the boxes, and the boxes in them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.annotations import NextContact, VideoAnnotation
from internvideo.data.samples import ClipViews
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import VideoError
from internvideo.video import Preprocessing
from internvideo.video.preprocessing import FrameSource
from internvideo.video.transforms import resize_short_side
from internvideo.video.video import Video

__all__ = ["ContactSource", "clip_before", "frame_of", "sides_of", "whole_view"]


class ContactSource(UntrimmedSource):
    """Annotated frames, each with the clip that ends there."""

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return the clip as its one view, "1 c t h w", whole and resized by its short side.

        Raises:
            VideoError: it cannot be read, or the video ends before.
        """
        with Video(self.path(index)) as video:
            clip = clip_before(video, frame_of(self.annotated.videos[index]), protocol)
        return ClipViews(whole_view(clip, protocol)[None], None, self.key(index))


def frame_of(video: VideoAnnotation) -> int:
    """Return the number of the annotated frame."""
    assert video.fps is not None
    return round(video.segments[0].start * video.fps)


def clip_before(
    video: FrameSource, frame: int, protocol: Preprocessing
) -> UInt8[Tensor, "t h w c"]:
    """Decode the clip that ends with a frame; before the start of the video, that is repeated.

    Raises:
        VideoError: the video has no such frame.
    """
    if not 0 <= frame < video.num_frames:
        name = getattr(video, "name", "the video")
        raise VideoError(f"{name} has no frame {frame}, only {video.num_frames}")
    back = protocol.frame_stride * np.arange(protocol.num_frames)[::-1]
    return video.frames(np.maximum(frame - back, 0).tolist())


def whole_view(clip: UInt8[Tensor, "t h w c"], protocol: Preprocessing) -> Float[Tensor, "c t y x"]:
    """Return whole frames, resized by their short side and normalised."""
    resized = resize_short_side(clip, protocol.resize_size, antialias=protocol.antialias)
    return protocol.normalize(resized)


def sides_of(
    contacts: tuple[NextContact, ...], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "n 4"]:
    """Return boxes of a picture in pixels of that picture at another size; both (width, height)."""
    sides = torch.tensor([each.box for each in contacts], dtype=torch.float32).reshape(-1, 4)
    return sides * torch.tensor([new[0] / old[0], new[1] / old[1]] * 2)
