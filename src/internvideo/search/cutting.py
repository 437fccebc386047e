"""Where a video is cut, and the frames of each part in one pass over it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.search.records import Cut
from internvideo.search.shots import find_cuts
from internvideo.video.preprocessing import FrameSource, Preprocessing
from internvideo.video.windows import Spans

__all__ = ["Span", "decode_spans", "spans_of", "thumbnail"]

_PIECE = 16  # frames of full size that are decoded together
_SHORTEST_SHOT = 0.5  # seconds
_THUMBNAIL_SIDE, _THUMBNAIL_QUALITY = 192, 78


class Span(NamedTuple):
    """A part of a video: its first frame and their number."""

    first: int
    num_frames: int

    @property
    def end(self) -> int:
        """The frame behind its last."""
        return self.first + self.num_frames


def spans_of(video: FrameSource, cut: Cut) -> list[Span]:
    """Return the parts of a video in order.

    Raises:
        VideoError: it cannot be read; shots are found by decoding all of it.
    """
    total, length = video.num_frames, max(round(cut.window * video.fps), 1)
    if cut.kind == "windows":
        stride = length if cut.stride is None else max(round(cut.stride * video.fps), 1)
        windows = Spans(total, min(length, total), stride)
        return [Span(windows.start(index), windows.length) for index in range(windows.count)]
    shortest = max(round(_SHORTEST_SHOT * video.fps), 1)
    borders = [0, *_apart(find_cuts(video), shortest, total), total]
    return [span for first, end in pairwise(borders) for span in _divided(first, end, 2 * length)]


def _apart(cuts: Sequence[int], shortest: int, total: int) -> Iterator[int]:
    """Yield the cuts that leave no shot shorter than `shortest` frames."""
    last = 0
    for cut in cuts:
        if cut - last >= shortest and total - cut >= shortest:
            yield cut
            last = cut


def _divided(first: int, end: int, longest: int) -> Iterator[Span]:
    """Yield as few equal spans as are no longer than `longest` frames."""
    count = -(-(end - first) // longest)
    borders = [first + (end - first) * k // count for k in range(count + 1)]
    for begin, finish in pairwise(borders):
        yield Span(begin, finish - begin)


def decode_spans(
    video: FrameSource, protocol: Preprocessing, spans: Sequence[Span]
) -> Iterator[tuple[Float[Tensor, "v c t h w"], UInt8[Tensor, "h w c"]]]:
    """Yield the views of each span, and a frame from its middle.

    Spans may overlap; they are in the order of their first frames, and every frame is decoded
    once at most, in order.

    Raises:
        VideoError: a frame cannot be decoded; the spans before it have been yielded.
    """
    picked = [span.first + protocol.sample(span.num_frames, video.fps) for span in spans]
    kept: dict[int, Tensor] = {}
    decoded = 0
    for number, span in enumerate(spans):
        needed = [np.zeros(0, np.int64)]
        for later in range(number, len(spans)):
            if spans[later].first >= span.end:
                break
            needed.append(picked[later].ravel())
        frames = np.unique(np.concatenate(needed))
        wanted = frames[(frames >= decoded) & (frames < span.end)].tolist()
        for at in range(0, len(wanted), _PIECE):
            piece = wanted[at : at + _PIECE]
            kept.update(zip(piece, video.frames(piece), strict=True))
        decoded = max(decoded, span.end)
        middle = picked[number][len(picked[number]) // 2]
        yield protocol.load(_Kept(kept, span, video.fps)), kept[int(middle[len(middle) // 2])]
        following = spans[number + 1].first if number + 1 < len(spans) else span.end
        kept = {index: frame for index, frame in kept.items() if index >= following}


class _Kept:
    """The decoded frames of a span, as a video of their own."""

    def __init__(self, kept: dict[int, Tensor], span: Span, fps: float) -> None:
        self._kept, self._first = kept, span.first
        self.num_frames, self.fps = span.num_frames, fps

    def frames(self, indices: Sequence[int], /) -> UInt8[Tensor, "t h w c"]:
        return torch.stack([self._kept[self._first + index] for index in indices])


def thumbnail(frame: UInt8[Tensor, "h w c"]) -> bytes:
    """Return a frame as a small JPEG, whose longer side has 192 pixels at most."""
    from PIL import Image

    picture = Image.fromarray(frame.numpy())
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), reducing_gap=2.0)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()
