"""Moving the pixels of whole `uint8` clips, equal to Pillow's bicubic `transform` in every value.

Only a part of the result is computed, from a part of the frames, both given as boxes in the frame.
Rotations are done by Pillow, frame by frame. Where pixels move along one axis only (shears and
translations), one of the two directions of the filter does nothing and the other has the same taps
and weights in all frames, so that the clip is filtered by vector operations.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from PIL import Image
from torch import Tensor

from internvideo.video.transforms import CropBox

__all__ = ["FILL", "Affine", "affine", "affine_source", "grown"]

Frames: TypeAlias = UInt8[np.ndarray, "t h w 3"]
Affine: TypeAlias = tuple[float, float, float, float, float, float]

FILL = 128
"""Grey level of what moves in from outside the frame."""


def affine(
    frames: Frames, matrix: Affine, *, given: CropBox, asked: CropBox, whole: CropBox
) -> Frames:
    """Return the part `asked` of the moved frames.

    Args:
        frames: the part `given` of the frames.
        matrix: from places (x, y) in the result to places in the frame, as in Pillow.
        given: where `frames` lies; it holds what `affine_source` names.
        asked: the part of the result that is returned.
        whole: the frame.
    """
    a, b, c, d, e, f = matrix
    if (d, e, f) == (0, 1, 0) and a == 1:
        top = asked.top - given.top
        rows = frames[:, top : top + asked.height]
        places = _places(asked, a, b, c)
        return _slide(rows, places, axis=1, start=given.left, size=whole.width)
    if (a, b, c) == (1, 0, 0) and e == 1:
        left = asked.left - given.left
        columns = frames[:, :, left : left + asked.width]
        places = _places(asked, d, e, f)
        return _slide(columns, places, axis=0, start=given.top, size=whole.height)
    if _meets_grey_levels(matrix, whole):
        from_corner = CropBox(0, 0, asked.top + asked.height, asked.left + asked.width)
        moved = _by_pillow(frames, matrix, given=given, asked=from_corner)
        return moved[:, asked.top :, asked.left :]
    return _by_pillow(frames, matrix, given=given, asked=asked)


def affine_source(asked: CropBox, whole: CropBox, matrix: Affine) -> CropBox:
    """Return the part of the frames that the bicubic filter reads to produce the part `asked`."""
    a, b, c, d, e, f = matrix
    if b and d and _meets_grey_levels(matrix, whole):
        return whole
    rows = (asked.top, asked.top + asked.height)
    columns = (asked.left, asked.left + asked.width)
    x = [a * column + b * row + c for column in columns for row in rows]
    y = [d * column + e * row + f for column in columns for row in rows]
    left, top = math.floor(min(x)), math.floor(min(y))
    box = CropBox(top, left, math.ceil(max(y)) - top, math.ceil(max(x)) - left)
    return grown(box, whole, margin=3)


def grown(box: CropBox, whole: CropBox, *, margin: int) -> CropBox:
    """Return a box with a margin, kept inside the frame; at least a pixel of it."""
    top = min(max(box.top - margin, 0), whole.height - 1)
    left = min(max(box.left - margin, 0), whole.width - 1)
    bottom = max(min(box.top + box.height + margin, whole.height), top + 1)
    right = max(min(box.left + box.width + margin, whole.width), left + 1)
    return CropBox(top, left, bottom - top, right - left)


def _meets_grey_levels(matrix: Affine, whole: CropBox) -> bool:
    """Whether a rotation can meet a grey level exactly: the rounding of places then decides.

    The middle of an odd frame is a pixel and stays one; the sine of 30 degrees is a half. Pillow
    cuts off what lies behind the point, so that 154.999... is another value than 155: there places
    have to be summed up from the corner of the frame, as they are for whole frames.
    """
    return abs(matrix[1]) == 0.5 or (whole.width % 2 == 1 and whole.height % 2 == 1)


def _by_pillow(frames: Frames, matrix: Affine, *, given: CropBox, asked: CropBox) -> Frames:
    a, b, c, d, e, f = matrix
    across = c + a * asked.left + b * asked.top - given.left
    down = f + d * asked.left + e * asked.top - given.top
    moved = np.empty((len(frames), asked.height, asked.width, 3), dtype=np.uint8)
    for new, frame in zip(moved, frames, strict=True):
        image = Image.fromarray(frame).transform(
            (asked.width, asked.height),
            Image.Transform.AFFINE,
            (a, b, across, d, e, down),
            resample=Image.Resampling.BICUBIC,
            fillcolor=(FILL, FILL, FILL),
        )
        new[:] = np.asarray(image)
    return moved


# ---------------------------------------------------------------- along one axis


def _places(asked: CropBox, a: float, b: float, c: float) -> Float[np.ndarray, "h w"]:
    """Return where each pixel comes from, on one axis; summed up in the order of Pillow."""
    x = np.arange(asked.left, asked.left + asked.width) + 0.5
    y = np.arange(asked.top, asked.top + asked.height)[:, None] + 0.5
    return a * x + b * y + c


def _slide(
    frames: Frames, places: Float[np.ndarray, "h w"], *, axis: int, start: int, size: int
) -> Frames:
    """Filter along one axis of the frame.

    Args:
        frames: the lines that are filtered, from `start` on.
        places: where each pixel of the result comes from on that axis.
        axis: 0 is down, 1 is across.
        start: first pixel of `frames` in the frame.
        size: of the frame.
    """
    steps = np.arange(places.shape[axis] + 3)
    steps = steps[None, :] if axis else steps[:, None]
    # pixels of a line lie next to each other in the frame as well: taps are shared
    first = np.floor(places.take([0], axis) - 0.5)
    fraction = places - 0.5 - (first + steps.take(range(places.shape[axis]), axis))
    taps = (first.astype(np.int64) + steps - 1).clip(0, size - 1) - start
    taps = taps.clip(0, frames.shape[1 + axis] - 1)
    if axis:
        taps = (taps[:, :, None] * 3 + np.arange(3)).reshape(len(taps), -1)
    else:
        taps = taps.repeat(3, axis=1)
    index = torch.from_numpy(taps)
    fractions = torch.from_numpy(fraction.repeat(3, axis=1))
    inside = torch.from_numpy(((places >= 0) & (places < size)).repeat(3, axis=1)).double()
    fill = FILL * (1 - inside)  # a product and a sum are faster than a masked fill
    moved = torch.empty(len(frames), *fractions.shape, dtype=torch.uint8)
    for new, frame in zip(moved, frames, strict=True):  # one by one: they stay in the cache
        lines = torch.from_numpy(frame.reshape(len(frame), -1)).to(torch.int16)
        gathered = lines.gather(axis, index)
        four = _four_taps(gathered, axis=axis, step=3 if axis else 1)
        new.copy_(_cubic(*four, fractions).clamp_(0, 255).mul_(inside).add_(fill))
    return moved.numpy().reshape(len(frames), *places.shape, 3)


def _four_taps(lines: Int16[Tensor, "h w"], *, axis: int, step: int) -> list[Tensor]:
    length = lines.shape[axis] - 3 * step
    return [lines.narrow(axis, tap * step, length) for tap in range(4)]


def _cubic(
    first: Tensor, second: Tensor, third: Tensor, fourth: Tensor, fraction: Float[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """Interpolate between `second` and `third`: Pillow's cubic (a = -1), in float64 as there."""
    falling, ahead = first - second, third - fourth
    value = fraction * (-falling - ahead)
    value += 2 * falling + ahead
    value *= fraction
    value += third - first
    value *= fraction
    value += second
    return value
