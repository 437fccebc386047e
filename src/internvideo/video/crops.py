"""Crops and flips of training clips: drawn once per clip, then applied to all its frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from internvideo.video.randomness import RandomSource
from internvideo.video.transforms import CropBox, Interpolation, crop, resize

__all__ = [
    "draw_five_places_crop",
    "draw_flip",
    "draw_multi_scale_crop",
    "draw_random_resized_crop",
    "draw_shape_keeping_crop",
    "draw_square_crop",
    "flip_clips_",
    "horizontal_flip",
    "multi_scale_crop_offsets",
    "multi_scale_crop_sizes",
    "resized_crop",
]

Frames: TypeAlias = UInt8[Tensor, "t h w c"] | Float[Tensor, "t h w c"]

_SNAP_PIXELS = 3  # candidate sides closer than this to the input size become the input size


def multi_scale_crop_sizes(
    height: int,
    width: int,
    size: int,
    *,
    scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
    max_distortion: int = 1,
) -> list[tuple[int, int]]:
    """Return the candidate crops (height, width) of multi-scale cropping, in the official order.

    Sides are the shorter side of the frame times each scale; those within three pixels of `size`
    become `size`. Height and width may differ by at most `max_distortion` steps of scale. Sides
    stay between one pixel and the frame, where the official code may leave it.
    """
    shorter = min(height, width)
    sides = [int(shorter * scale) for scale in scales]
    sides = [size if abs(side - size) < _SNAP_PIXELS else side for side in sides]
    sides = [min(max(side, 1), shorter) for side in sides]
    return [
        (tall, wide)
        for i, tall in enumerate(sides)
        for j, wide in enumerate(sides)
        if abs(i - j) <= max_distortion
    ]


def multi_scale_crop_offsets(
    height: int, width: int, crop_height: int, crop_width: int
) -> list[tuple[int, int]]:
    """Return the 13 positions (top, left) of a multi-scale crop, in the official order.

    The corners and the centre, then the middles of the edges, then the centres of the quarters.
    """
    down, right = (height - crop_height) // 4, (width - crop_width) // 4
    steps = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    steps += [(2, 0), (2, 4), (4, 2), (0, 2)]
    steps += [(1, 1), (1, 3), (3, 1), (3, 3)]
    return [(row * down, column * right) for row, column in steps]


def draw_five_places_crop(height: int, width: int, size: int, *, rng: RandomSource) -> CropBox:
    """Draw a square crop as DEAR does: the shorter side or 0.8 of it, in a corner or the centre.

    Args:
        height: of the frames.
        width: of the frames.
        size: input size of the model.
        rng: two draws are taken.

    Source: open-set recognition, MMAction2's MultiScaleCrop with five fixed crops.
    """
    sizes = multi_scale_crop_sizes(height, width, size, scales=(1.0, 0.8), max_distortion=0)
    tall, wide = sizes[rng.randint(0, len(sizes) - 1)]
    offsets = multi_scale_crop_offsets(height, width, tall, wide)[:5]
    top, left = offsets[rng.randint(0, len(offsets) - 1)]
    return CropBox(top, left, tall, wide)


def draw_multi_scale_crop(height: int, width: int, size: int, *, rng: RandomSource) -> CropBox:
    """Draw a crop as VideoMAE pretraining does: one candidate size, then one of 13 positions.

    Args:
        height: of the frames.
        width: of the frames.
        size: input size of the model.
        rng: two draws are taken.

    Source: fixture `videomae-crops` (multiscale).
    """
    sizes = multi_scale_crop_sizes(height, width, size)
    crop_height, crop_width = sizes[rng.randint(0, len(sizes) - 1)]
    offsets = multi_scale_crop_offsets(height, width, crop_height, crop_width)
    top, left = offsets[rng.randint(0, len(offsets) - 1)]
    return CropBox(top, left, crop_height, crop_width)


def draw_shape_keeping_crop(
    height: int, width: int, *, scale: tuple[float, float], rng: RandomSource
) -> CropBox:
    """Draw a box of the frame's own shape, anywhere in it.

    Resized to a square it is a random square crop of the frame squashed to a larger square: how
    InternVideo-MM's training reads its videos (squashed to 256 pixels, of which 224 are taken).

    Args:
        height: of the frames.
        width: of the frames.
        scale: bounds of the area, as a share of the frame, at most 1.
        rng: three draws are taken.
    """
    side = math.sqrt(min(rng.uniform(*scale), 1.0))
    tall, wide = max(round(side * height), 1), max(round(side * width), 1)
    return CropBox(rng.randint(0, height - tall), rng.randint(0, width - wide), tall, wide)


def draw_square_crop(
    height: int, width: int, *, scale: tuple[float, float], rng: RandomSource
) -> CropBox:
    """Draw a square box, anywhere in the frame.

    Resized it is a random crop of the frame whose short side was resized before: how question
    answering reads GIFs (256 pixels, of which 224 are taken).

    Args:
        height: of the frames.
        width: of the frames.
        scale: bounds of the area, as a share of the largest square in the frame, at most 1.
        rng: three draws are taken.
    """
    share = math.sqrt(min(rng.uniform(*scale), 1.0))
    side = max(round(share * min(height, width)), 1)
    return CropBox(rng.randint(0, height - side), rng.randint(0, width - side), side, side)


def draw_random_resized_crop(
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    rng: RandomSource,
) -> CropBox:
    """Draw a crop of random area and aspect ratio; the centre after ten that do not fit.

    Args:
        height: of the frames.
        width: of the frames.
        scale: bounds of the area, as a share of the frame.
        ratio: bounds of width / height, drawn uniformly in its logarithm.
        rng: two draws per attempt, two more for the position.

    Source: fixture `videomae-crops` (random_resized_crop_params).
    """
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*log_ratio))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = rng.randint(0, height - crop_height)
            left = rng.randint(0, width - crop_width)
            return CropBox(top, left, crop_height, crop_width)
    crop_height, crop_width = height, width
    if width / height < ratio[0]:
        crop_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        crop_width = round(height * ratio[1])
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return CropBox(top, left, crop_height, crop_width)


def draw_flip(probability: float, *, rng: RandomSource) -> bool:
    """Draw whether to mirror the clip."""
    return rng.uniform(0, 1) < probability


def resized_crop(
    frames: Frames,
    box: CropBox,
    size: int,
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = False,
    rounded: bool = True,
    exact: bool = True,
) -> Frames:
    """Cut `box` out of every frame and `resize` it to a square of `size` pixels."""
    return resize(
        crop(frames, box),
        (size, size),
        interpolation=interpolation,
        antialias=antialias,
        rounded=rounded,
        exact=exact,
    )


def horizontal_flip(frames: Frames) -> Frames:
    """Mirror every frame left to right. Never where labels or captions name a side."""
    return frames.flip(-2)


def flip_clips_(
    clips: Float[Tensor, "b c t h w"], chosen: Bool[Tensor, " b"]
) -> Float[Tensor, "b c t h w"]:
    """Mirror the chosen clips of a batch, in place."""
    if clips.device.type != "cpu":
        return _flip_by_mask_(clips, chosen)
    for row in chosen.nonzero().flatten().tolist():
        for channel in clips[row]:  # one after the other: stays in cache
            channel.copy_(channel.flip(-1))
    return clips


def _flip_by_mask_(
    clips: Float[Tensor, "b c t h w"], chosen: Bool[Tensor, " b"]
) -> Float[Tensor, "b c t h w"]:
    """Do the same without reading the choice, for which the host would wait for the device."""
    return torch.where(chosen[:, None, None, None, None], clips.flip(-1), clips, out=clips)
