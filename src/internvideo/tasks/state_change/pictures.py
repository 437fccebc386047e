"""Key frames as the detector sees them: resized, its short and its long side bounded, padded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from internvideo.data.samples import ClipViews
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import DataError, VideoError
from internvideo.formats.ego4d_scod import key_time
from internvideo.video import Preprocessing
from internvideo.video.preprocessing import FrameSource
from internvideo.video.transforms import resize
from internvideo.video.video import Video

__all__ = [
    "DIVISOR",
    "LONG_SIDE",
    "PictureSource",
    "fitted",
    "key_frame",
    "padded",
    "read_pictures",
    "view_of",
]

LONG_SIDE = 2.5
"""How long the long side may be, in short sides of the protocol (2000 and 800 pixels)."""
DIVISOR = 32
"""Pictures are padded to multiples of this many pixels."""


class PictureSource(UntrimmedSource):
    """The key frames of an annotation file, of which each is one picture."""

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return a key frame as its one view, "1 3 1 h w", in a size of its own.

        Raises:
            VideoError: it cannot be read, or the video ends before it.
        """
        with Video(self.path(index)) as video:
            frame = key_frame(video, key_time(self.annotated.videos[index]))
        return ClipViews(view_of(frame, protocol), None, self.key(index))


def read_pictures(source: UntrimmedSource) -> PictureSource:
    """Return the pictures of annotated videos.

    Raises:
        DataError: there is no box in any of them.
    """
    annotated = source.annotated
    if not any(video.boxes for video in annotated.videos):
        raise DataError(
            f"{annotated.file} has no boxes in {len(annotated.videos)} pictures; state changes are "
            "measured on annotated ones"
        )
    return PictureSource(annotated)


def key_frame(video: FrameSource, time: float | None) -> UInt8[Tensor, "h w c"]:
    """Return the frame at a time in seconds; None is the middle of the video.

    Raises:
        VideoError: the video ends before, or cannot be read.
    """
    number = video.num_frames // 2 if time is None else int(time * video.fps + 1e-6)
    if number >= video.num_frames:
        name = getattr(video, "name", "the video")
        raise VideoError(
            f"{name} has no frame at {time:g} s: it is over after "
            f"{video.num_frames / video.fps:g} s"
        )
    return video.frames([number])[0]


def fitted(size: tuple[int, int], short: float, long: float) -> tuple[int, int]:
    """Return the largest height and width of the same shape within two sides.

    >>> fitted((1080, 1920), 800, 2000)
    (800, 1422)
    >>> fitted((200, 1000), 800, 2000)
    (400, 2000)
    """
    scale = min(short / min(size), long / max(size))
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    return height, width


def view_of(frame: UInt8[Tensor, "h w c"], protocol: Preprocessing) -> Float[Tensor, "1 c 1 y x"]:
    """Return a picture, resized and normalised."""
    short = protocol.resize_size
    size = fitted((frame.shape[0], frame.shape[1]), short, LONG_SIDE * short)
    resized = resize(
        frame[None], size, interpolation=protocol.interpolation, antialias=protocol.antialias
    )
    return protocol.normalize(resized)[None]


def padded(
    pictures: Sequence[Float[Tensor, "c _ _"]],
) -> tuple[Float[Tensor, "b c y x"], Bool[Tensor, "b y x"]]:
    """Return pictures of several sizes as one batch, and which of its pixels are shown."""
    sizes = [tuple(picture.shape[1:]) for picture in pictures]
    height, width = (-(-max(sides) // DIVISOR) * DIVISOR for sides in zip(*sizes, strict=True))
    batch = pictures[0].new_zeros(len(pictures), len(pictures[0]), height, width)
    shown = torch.zeros(len(pictures), height, width, dtype=torch.bool, device=batch.device)
    for number, (picture, (h, w)) in enumerate(zip(pictures, sizes, strict=True)):
        batch[number, :, :h, :w] = picture
        shown[number, :h, :w] = True
    return batch, shown
