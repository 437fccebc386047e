"""Training augmentation: drawn once per clip, cut in the data worker, finished on the device.

    worker   draw(height, width, rng=…)    what will happen to one clip
             cut(frames, draw)             [RandAugment by Pillow], crop, resize      "t s s 3"
             draw_tensors(draw)            what the device must know, for the batch
    device   finish(clips, draws)          [RandAugment by tensors], flip, normalise, erase

A worker hands over small `uint8` clips wherever it can, and the floats are made on the device for a
whole batch. `Augmentation` is plain data; `AUGMENTATIONS` holds the published ones, and faster ones
that have names of their own because their pixels differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, UInt8
from pydantic import PositiveInt
from torch import Tensor

from internvideo.config import Fraction, Positive, config_class
from internvideo.errors import ConfigError
from internvideo.video.crops import (
    draw_five_places_crop,
    draw_flip,
    draw_multi_scale_crop,
    draw_random_resized_crop,
    draw_shape_keeping_crop,
    draw_square_crop,
    flip_clips_,
    resized_crop,
)
from internvideo.video.erasing import draw_erasing, erase_clips_
from internvideo.video.randaugment import (
    OPERATIONS,
    Operation,
    apply_randaugment,
    draw_randaugment,
    parse_randaugment,
)
from internvideo.video.randaugment_tensor import randaugment_clips
from internvideo.video.randomness import AnyGenerator, RandomSource, random_source
from internvideo.video.transforms import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    CropBox,
    Interpolation,
    normalize,
    reverse_channels,
)

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "AugmentationDraw",
    "RandomSource",
    "random_source",
]

CropRule = Literal["multi-scale", "five-places", "random-resized", "keep-shape", "square"]
RandAugmentKind = Literal["pil", "tensor"]
ChannelOrder = Literal["rgb", "bgr"]
ResizeDtype = Literal["uint8", "float"]


class AugmentationDraw(NamedTuple):
    """The random choices made for one clip.

    `operations` are those of RandAugment (None: drawn, but not applied); `erased` is a box in the
    finished clip.
    """

    box: CropBox
    flip: bool = False
    operations: tuple[Operation | None, ...] = ()
    erased: CropBox | None = None


@config_class
class Augmentation:
    """How the frames of a training clip become model input; plain values only.

    Attributes:
        size: side of the square input of the model.
        crop: "multi-scale", "five-places": squares of two sizes, "random-resized", "keep-shape":
            boxes of the frame's own shape, or "square": square ones.
        scale: bounds of the area, as a share of the frame, or of the largest square in it; not for
            "multi-scale".
        ratio: bounds of width / height, for "random-resized".
        flip_probability: 0 for data whose labels know left from right (Something-Something).
        interpolation: "bilinear" or "bicubic".
        antialias: whether the filter widens when shrinking.
        resize_dtype: "uint8" rounds the resized pixels to integers, "float" does not.
        exact_resize: whether "uint8" pixels equal those of OpenCV or Pillow, see
            `internvideo.video.transforms.resize`; False is faster.
        randaugment: None, or the official notation, `rand-m7-n4-mstd0.5-inc1`.
        randaugment_kind: "pil" works on the whole frames before the crop, as published; "tensor"
            on the crops, a batch at a time on the device.
        erasing_probability: share of the clips in which one box is filled with noise.
        mean: per channel, on the scale [0, 1], in the model's channel order.
        std: per channel, likewise.
        channel_order: what the model expects; frames, and all that happens before the statistics,
            are RGB.

    Raises:
        ConfigError: a value is impossible.
    """

    size: PositiveInt = 224
    crop: CropRule = "random-resized"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)
    flip_probability: Fraction = 0.5
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    resize_dtype: ResizeDtype = "float"
    exact_resize: bool = True
    randaugment: str | None = None
    randaugment_kind: RandAugmentKind = "pil"
    erasing_probability: Fraction = 0.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self) -> None:
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ConfigError(f"{name} is ({low}, {high}); expected 0 < lower <= upper")
        if self.randaugment is not None:
            parse_randaugment(self.randaugment)
            if self.randaugment_kind == "tensor" and self.resize_dtype != "uint8":
                raise ConfigError(
                    "randaugment_kind 'tensor' works on uint8 crops; set resize_dtype: uint8"
                )

    # ------------------------------------------------------------ in the worker

    def draw(self, height: int, width: int, *, rng: AnyGenerator) -> AugmentationDraw:
        """Draw what happens to one clip of frames of this size."""
        source = random_source(rng)
        operations = ()
        if self.randaugment is not None:
            operations = draw_randaugment(self.randaugment, rng=source)
        if self.crop == "five-places":
            box = draw_five_places_crop(height, width, self.size, rng=source)
        elif self.crop == "multi-scale":
            box = draw_multi_scale_crop(height, width, self.size, rng=source)
        elif self.crop == "keep-shape":
            box = draw_shape_keeping_crop(height, width, scale=self.scale, rng=source)
        elif self.crop == "square":
            box = draw_square_crop(height, width, scale=self.scale, rng=source)
        else:
            box = draw_random_resized_crop(
                height, width, scale=self.scale, ratio=self.ratio, rng=source
            )
        flip = draw_flip(self.flip_probability, rng=source)
        erased = None
        if self.erasing_probability:
            erased = draw_erasing(
                self.size, self.size, probability=self.erasing_probability, rng=source
            )
        return AugmentationDraw(box, flip, operations, erased)

    def cut(
        self, frames: UInt8[Tensor, "t h w 3"], draw: AugmentationDraw
    ) -> UInt8[Tensor, "t s s 3"] | Float[Tensor, "t s s 3"]:
        """Crop and resize all frames of a clip, after RandAugment by Pillow if that is asked for.

        Returns:
            Frames of the input size, `uint8` unless `resize_dtype` is "float".
        """
        box = draw.box
        if self.randaugment_kind == "pil" and any(draw.operations):
            augmented = apply_randaugment(frames.numpy(), draw.operations, region=box)
            frames, box = torch.from_numpy(augmented), CropBox(0, 0, box.height, box.width)
        return resized_crop(
            frames,
            box,
            self.size,
            interpolation=self.interpolation,
            antialias=self.antialias,
            rounded=self.resize_dtype == "uint8",
            exact=self.exact_resize,
        )

    def draw_tensors(self, draw: AugmentationDraw) -> dict[str, Tensor]:
        """Return what `finish` must know of one clip; the tensors of several can be stacked.

        Those that begin with `host_` belong on the CPU, whatever the device of the clips.
        """
        tensors: dict[str, Tensor] = {}
        if self.flip_probability:
            tensors["augment_flip"] = torch.tensor(draw.flip)
        if self.erasing_probability:
            tensors["augment_erased"] = torch.tensor(draw.erased or (0, 0, 0, 0))
        if self.randaugment is not None and self.randaugment_kind == "tensor":
            names = [-1 if o is None else OPERATIONS.index(o.name) for o in draw.operations]
            arguments = [0.0 if o is None else o.argument for o in draw.operations]
            tensors["host_augment_operations"] = torch.tensor(names, dtype=torch.int64)
            tensors["host_augment_arguments"] = torch.tensor(arguments, dtype=torch.float32)
        return tensors

    # ------------------------------------------------------------ on the device

    def finish(
        self,
        clips: UInt8[Tensor, "b t s s 3"] | Float[Tensor, "b t s s 3"],
        draws: Mapping[str, Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b 3 t s s"]:
        """Turn a batch of `cut` clips into model input.

        Args:
            clips: from `cut`.
            draws: from `draw_tensors`, stacked.
            generator: of the noise of erasing, on the device; None is the device's own.
        """
        if self.randaugment is not None and self.randaugment_kind == "tensor":
            planar = clips.movedim(-1, 1).contiguous()
            planar = randaugment_clips(
                planar, draws["host_augment_operations"], draws["host_augment_arguments"]
            )
            clips = planar.movedim(1, -1)
        if self.channel_order == "bgr":
            clips = reverse_channels(clips)
        video = normalize(clips, self.mean, self.std)
        if self.flip_probability:
            flip_clips_(video, draws["augment_flip"])
        if self.erasing_probability:
            erase_clips_(video, draws["augment_erased"], generator=generator)
        return video

    # ------------------------------------------------------------ both at once

    def apply(
        self,
        frames: UInt8[Tensor, "t h w 3"],
        draw: AugmentationDraw,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "3 t s s"]:
        """Cut and finish one clip; arguments as for `cut` and `finish`."""
        draws = {name: value[None] for name, value in self.draw_tensors(draw).items()}
        return self.finish(self.cut(frames, draw)[None], draws, generator=generator)[0]

    def __call__(
        self, frames: UInt8[Tensor, "t h w 3"], *, rng: AnyGenerator
    ) -> Float[Tensor, "3 t s s"]:
        """Draw for a clip and apply it; equal generators give equal clips."""
        draw = self.draw(frames.shape[1], frames.shape[2], rng=rng)
        noise = torch.Generator(frames.device).manual_seed(random_source(rng).randint(0, 2**31 - 1))
        return self.apply(frames, draw, generator=noise)


_PRETRAIN = Augmentation(
    crop="multi-scale", flip_probability=0.0, antialias=True, resize_dtype="uint8"
)
_FINETUNE = Augmentation(randaugment="rand-m7-n4-mstd0.5-inc1", erasing_probability=0.25)
_FINETUNE_FAST = replace(
    _FINETUNE, randaugment_kind="tensor", resize_dtype="uint8", exact_resize=False
)
_UNIFORMERV2 = replace(
    _FINETUNE, erasing_probability=0.0, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)
)

AUGMENTATIONS: dict[str, Augmentation] = {
    "videomae-pretrain": _PRETRAIN,
    "videomae-pretrain-fast": replace(_PRETRAIN, exact_resize=False),
    "videomae-finetune": _FINETUNE,
    "videomae-finetune-ssv2": replace(_FINETUNE, flip_probability=0.0),
    "videomae-finetune-fast": _FINETUNE_FAST,
    "videomae-finetune-ssv2-fast": replace(_FINETUNE_FAST, flip_probability=0.0),
    "open-set": Augmentation(crop="five-places", resize_dtype="uint8"),
    "viclip-pretrain": Augmentation(
        scale=(0.5, 1.0),
        ratio=(3 / 4, 4 / 3),
        interpolation="bicubic",
        resize_dtype="uint8",
    ),
    "internvideo-mm-pretrain": Augmentation(
        crop="keep-shape",
        scale=((224 / 256) ** 2, (224 / 256) ** 2),
        flip_probability=0.0,
        antialias=True,
        resize_dtype="uint8",
        mean=CLIP_MEAN,
        std=CLIP_STD,
    ),
    "uniformerv2-kinetics": _UNIFORMERV2,
    "uniformerv2-sth": replace(_UNIFORMERV2, flip_probability=0.0, channel_order="bgr"),
}
"""The augmentations of the published recipes by name; `…-fast` are ours."""
