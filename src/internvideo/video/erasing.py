"""Random erasing: one box of noise per clip (arXiv 1708.04896, as used for video)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.video.randomness import RandomSource
from internvideo.video.transforms import CropBox

__all__ = ["draw_erasing", "erase_clips_"]

_ATTEMPTS = 10


def draw_erasing(
    height: int,
    width: int,
    *,
    probability: float,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    rng: RandomSource,
) -> CropBox | None:
    """Draw the box to erase; None leaves the clip as it is.

    Args:
        height: of the frames.
        width: of the frames.
        probability: that anything is erased.
        area: bounds of the box, as a share of the frame.
        aspect: bounds of height / width, drawn uniformly in its logarithm.
        rng: one draw, then two per attempt and two for the position; ten boxes that do not fit
            erase nothing.
    """
    if rng.uniform(0, 1) >= probability:
        return None
    log_aspect = (math.log(aspect[0]), math.log(aspect[1]))
    for _ in range(_ATTEMPTS):
        pixels = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(*log_aspect))
        tall, wide = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < tall < height and 0 < wide < width:
            return CropBox(rng.randint(0, height - tall), rng.randint(0, width - wide), tall, wide)
    return None


def erase_clips_(
    clips: Float[Tensor, "b c t h w"],
    boxes: Int[Tensor, "b 4"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b c t h w"]:
    """Fill each clip's box with fresh N(0, 1) noise in every frame and pixel, in place.

    Args:
        clips: normalised clips.
        boxes: top, left, height, width for each clip; a height of 0 erases nothing.
        generator: of the noise, on the device of the clips; None is the device's own.
    """
    if clips.device.type != "cpu":
        return _fill_by_mask_(clips, boxes, generator)
    for clip, (top, left, height, width) in zip(clips, boxes.tolist(), strict=True):
        if height:
            box = clip[..., top : top + height, left : left + width]
            box.copy_(torch.randn(box.shape, generator=generator))
    return clips


def _fill_by_mask_(
    clips: Float[Tensor, "b c t h w"], boxes: Int[Tensor, "b 4"], generator: torch.Generator | None
) -> Float[Tensor, "b c t h w"]:
    """Do the same without reading the boxes, for which the host would wait for the device."""
    top, left, height, width = boxes[:, :, None].unbind(1)
    row = torch.arange(clips.shape[-2], device=clips.device)
    column = torch.arange(clips.shape[-1], device=clips.device)
    rows, columns = (row >= top) & (row < top + height), (column >= left) & (column < left + width)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None, None]
    noise = torch.empty_like(clips).normal_(generator=generator)
    return torch.where(inside, noise, clips, out=clips)
