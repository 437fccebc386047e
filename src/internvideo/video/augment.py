"""Training augmentation: parameters are drawn once per clip, then applied to all its frames.

Drawing and applying are separate functions, so that one draw serves every frame and a test, or a
second look at a sample, can pin the parameters. `Augmentation` puts the pieces together as plain
data; `AUGMENTATIONS` holds the published ones.

Random numbers come from a `RandomSource`: Python's `random.Random` is one, and `random_source`
wraps a `torch.Generator` or a numpy generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.video.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CropBox,
    Interpolation,
    crop,
    normalize,
    resize,
)

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "AugmentationDraw",
    "RandomSource",
    "draw_flip",
    "draw_multi_scale_crop",
    "draw_random_resized_crop",
    "horizontal_flip",
    "multi_scale_crop_offsets",
    "multi_scale_crop_sizes",
    "random_source",
    "resized_crop",
]

Frames: TypeAlias = UInt8[Tensor, "t h w c"] | Float[Tensor, "t h w c"]

_SNAP_PIXELS = 3  # candidate sides closer than this to the input size become the input size


# ---------------------------------------------------------------- random numbers


class RandomSource(Protocol):
    """The two draws that augmentation needs, named as in Python's `random.Random`."""

    def uniform(self, a: float, b: float, /) -> float:
        """Draw a number between `a` and `b`."""
        ...

    def randint(self, a: int, b: int, /) -> int:
        """Draw an integer from `a` to `b`, both included."""
        ...


class _TorchRandom:
    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, a: float, b: float, /) -> float:
        device = self._generator.device
        draw = torch.rand((), generator=self._generator, dtype=torch.float64, device=device)
        return a + (b - a) * draw.item()

    def randint(self, a: int, b: int, /) -> int:
        device = self._generator.device
        draw = torch.randint(a, b + 1, (), generator=self._generator, device=device)
        return int(draw.item())


class _NumpyRandom:
    def __init__(self, rng: np.random.Generator | np.random.RandomState) -> None:
        self._rng = rng

    def uniform(self, a: float, b: float, /) -> float:
        return float(self._rng.uniform(a, b))

    def randint(self, a: int, b: int, /) -> int:
        if isinstance(self._rng, np.random.RandomState):
            return int(self._rng.randint(a, b + 1))
        return int(self._rng.integers(a, b + 1))


def random_source(
    rng: torch.Generator | np.random.Generator | np.random.RandomState | RandomSource,
) -> RandomSource:
    """Return a source of draws over any of the usual generators; a source is returned unchanged."""
    if isinstance(rng, torch.Generator):
        return _TorchRandom(rng)
    if isinstance(rng, (np.random.Generator, np.random.RandomState)):
        return _NumpyRandom(rng)
    return rng


# ---------------------------------------------------------------- crops: drawn


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


# ---------------------------------------------------------------- applied


def resized_crop(
    frames: Frames,
    box: CropBox,
    size: int,
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = False,
    rounded: bool = True,
) -> Frames:
    """Cut `box` out of every frame and `resize` it to a square of `size` pixels."""
    return resize(
        crop(frames, box),
        (size, size),
        interpolation=interpolation,
        antialias=antialias,
        rounded=rounded,
    )


def horizontal_flip(frames: Frames) -> Frames:
    """Mirror every frame left to right. Never where labels or captions name a side."""
    return frames.flip(-2)


# ---------------------------------------------------------------- put together


class AugmentationDraw(NamedTuple):
    """The random choices made for one clip."""

    box: CropBox
    flip: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """How the frames of a training clip become model input; plain values only.

    Attributes:
        size: side of the square input of the model.
        crop: "multi-scale" or "random-resized".
        scale: bounds of the area of random resized crops, as a share of the frame.
        ratio: bounds of their width / height.
        flip_probability: 0 for data whose labels know left from right (Something-Something).
        interpolation: "bilinear" or "bicubic".
        antialias: whether the filter widens when shrinking.
        resize_dtype: "uint8" rounds the resized pixels to integers, "float" does not.
        mean: per channel, on the scale [0, 1].
        std: per channel, likewise.

    Raises:
        ConfigError: a value is impossible.
    """

    size: int = 224
    crop: Literal["multi-scale", "random-resized"] = "random-resized"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)
    flip_probability: float = 0.5
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    resize_dtype: Literal["uint8", "float"] = "float"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.crop not in ("multi-scale", "random-resized"):
            raise ConfigError(f"crop is {self.crop!r}; expected 'multi-scale' or 'random-resized'")
        if self.size < 1:
            raise ConfigError(f"size is {self.size}; it must be at least 1")
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f"flip_probability is {self.flip_probability}; expected 0 to 1")
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ConfigError(f"{name} is ({low}, {high}); expected 0 < lower <= upper")
        if self.resize_dtype not in ("uint8", "float"):
            raise ConfigError(f"resize_dtype is {self.resize_dtype!r}; expected 'uint8' or 'float'")

    def draw(self, height: int, width: int, *, rng: RandomSource) -> AugmentationDraw:
        """Draw the crop and the flip for one clip of frames of this size."""
        if self.crop == "multi-scale":
            box = draw_multi_scale_crop(height, width, self.size, rng=rng)
        else:
            box = draw_random_resized_crop(
                height, width, scale=self.scale, ratio=self.ratio, rng=rng
            )
        return AugmentationDraw(box, draw_flip(self.flip_probability, rng=rng))

    def apply(
        self, frames: UInt8[Tensor, "t h w 3"], drawn: AugmentationDraw
    ) -> Float[Tensor, "3 t s s"]:
        """Crop, resize, mirror and normalise all frames of a clip by one draw."""
        resized = resized_crop(
            frames,
            drawn.box,
            self.size,
            interpolation=self.interpolation,
            antialias=self.antialias,
            rounded=self.resize_dtype == "uint8",
        )
        if drawn.flip:
            resized = horizontal_flip(resized)
        return normalize(resized, self.mean, self.std)

    def __call__(
        self, frames: UInt8[Tensor, "t h w 3"], *, rng: RandomSource
    ) -> Float[Tensor, "3 t s s"]:
        """Draw parameters for a clip and apply them."""
        return self.apply(frames, self.draw(frames.shape[1], frames.shape[2], rng=rng))


AUGMENTATIONS: dict[str, Augmentation] = {
    "videomae-pretrain": Augmentation(
        crop="multi-scale", flip_probability=0.0, antialias=True, resize_dtype="uint8"
    ),
    "videomae-finetune": Augmentation(),
    "videomae-finetune-ssv2": Augmentation(flip_probability=0.0),
    "viclip-pretrain": Augmentation(
        scale=(0.5, 1.0),
        ratio=(3 / 4, 4 / 3),
        interpolation="bicubic",
        resize_dtype="uint8",
    ),
    "uniformerv2-kinetics": Augmentation(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)),
}
"""The crops and flips of the published recipes; RandAugment, erasing and mixup are separate."""
