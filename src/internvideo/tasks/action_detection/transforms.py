"""Frames and boxes of a clip together: resize, and in training crop, shift of colours and mirror.

    frames, boxes ──► short side ──► [crop ──► hue, saturation, value ──► mirror] ──► normalise

Source: the transforms of AlphAction (fixtures `stal-transform-train`, `stal-transform-eval`), whose
8-bit arithmetic is that of OpenCV, as is the one here.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.tasks.action_detection import boxes as box_ops
from internvideo.video.transforms import CropBox, crop, resize_short_side

__all__ = ["ColorShift", "ViewDraw", "draw_view", "padded", "resized", "shift_colors", "train_view"]

Frames = UInt8[Tensor, "t h w 3"]
Boxes = Float[Tensor, "n 4"]

_HUES = 180  # of an 8-bit picture
_BITS = 12  # of fractions in OpenCV's conversion


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorShift:
    """Added to all pixels of a clip: to the hue of 180 steps, the saturation and the value of 255.

    Also the largest shifts, up or down, that are drawn.
    """

    hue: int = 10
    saturation: int = 26
    value: int = 26


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewDraw:
    """The random choices for one training clip.

    Attributes:
        x: where the crop lies between the left and the right border, from 0 to 1.
        y: likewise between top and bottom.
        color: what is added to the colours.
        mirrored: whether left and right change places.
    """

    x: float = 0.5
    y: float = 0.5
    color: ColorShift | None = None
    mirrored: bool = False


def draw_view(
    rng: np.random.Generator, most: ColorShift | None, *, mirror_probability: float
) -> ViewDraw:
    """Draw a training clip, in the order of the reference."""
    x, y = rng.random(2).tolist()
    color = None
    if most is not None:
        hue, saturation, value = (
            int(rng.integers(-limit, limit + 1))
            for limit in (most.hue, most.saturation, most.value)
        )
        color = ColorShift(hue=hue, saturation=saturation, value=value)
    return ViewDraw(x=x, y=y, color=color, mirrored=rng.random() < mirror_probability)


def resized(
    frames: Frames, boxes: Boxes, short_side: int, *, antialias: bool = False
) -> tuple[Frames, Boxes]:
    """Resize the frames by their short side, and the boxes with them."""
    height, width = frames.shape[1:3]
    new = resize_short_side(frames, short_side, antialias=antialias)
    size = (float(new.shape[2]), float(new.shape[1]))
    return new, box_ops.resize(boxes, (width, height), size)


def train_view(
    frames: Frames, boxes: Boxes, drawn: ViewDraw, *, crop_size: int
) -> tuple[UInt8[Tensor, "t s s 3"], Boxes]:
    """Return a training clip and its boxes.

    Args:
        frames: resized.
        boxes: in them.
        drawn: the random choices.
        crop_size: side of the square that is cut out, at most the short side.
    """
    height, width = frames.shape[1:3]
    left, top = int(drawn.x * (width - crop_size)), int(drawn.y * (height - crop_size))
    window = (left, top, left + crop_size, top + crop_size)
    frames = crop(frames, CropBox(top, left, crop_size, crop_size))
    boxes = box_ops.crop(boxes, window)
    if drawn.color is not None:
        frames = shift_colors(frames, drawn.color)
    if drawn.mirrored:
        frames, boxes = frames.flip(2), box_ops.flip(boxes, crop_size)
    return frames.contiguous(), boxes


def shift_colors(frames: Frames, by: ColorShift) -> Frames:
    """Add to hue (which goes round), saturation and value (which end at 0 and 255).

    The arithmetic is that of OpenCV for 8 bits: to HSV in whole numbers, back in float32.
    """
    pixels = frames.numpy().astype(np.int32)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    highest = pixels.max(axis=-1)
    spread = highest - pixels.min(axis=-1)
    steps = np.arange(1, 256)
    per_value = np.concatenate([[0], np.rint((255 << _BITS) / steps)]).astype(np.int32)
    per_spread = np.concatenate([[0], np.rint((_HUES << _BITS) / (6.0 * steps))]).astype(np.int32)
    half = 1 << (_BITS - 1)
    saturation = (spread * per_value[highest] + half) >> _BITS
    sector = np.where(
        highest == red,
        green - blue,
        np.where(highest == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    hue = (sector * per_spread[spread] + half) >> _BITS
    hue = np.where(hue < 0, hue + _HUES, hue)
    hue = (hue + by.hue) % _HUES
    saturation = np.clip(saturation + by.saturation, 0, 255).astype(np.float32)
    value = np.clip(highest + by.value, 0, 255).astype(np.float32)
    return torch.from_numpy(_from_hsv(hue.astype(np.float32), saturation, value))


def _from_hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    def less(share: np.ndarray) -> np.ndarray:
        # 1 - saturation · share is rounded once in OpenCV, as a fused multiply-add
        product = saturation.astype(np.float64) * share.astype(np.float64)
        return (1.0 - product).astype(np.float32)

    one, unit = np.float32(1), np.float32(1 / 255)
    hue = hue * np.float32(6 / _HUES)
    saturation, value = saturation * unit, value * unit
    sector = np.floor(hue)
    rest = hue - sector
    levels = np.stack(
        [value, value * (one - saturation), value * less(rest), value * less(one - rest)]
    )
    levels = np.rint(levels * np.float32(255)).clip(0, 255).astype(np.uint8)
    # which of the levels is red, green and blue in each sixth of the circle
    table = np.array([[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]])
    chosen = table[sector.astype(np.int64) % 6]
    return np.take_along_axis(np.moveaxis(levels, 0, -1), chosen, axis=-1)


def padded(clips: Sequence[Float[Tensor, "c t h w"]], multiple: int) -> Float[Tensor, "b c t y x"]:
    """Stack clips with zeros at the right and at the bottom, up to a multiple."""
    height, width = (max(clip.shape[side] for clip in clips) for side in (-2, -1))
    height, width = (-(-side // multiple) * multiple for side in (height, width))
    return torch.stack(
        [F.pad(clip, (0, width - clip.shape[-1], 0, height - clip.shape[-2])) for clip in clips]
    )
