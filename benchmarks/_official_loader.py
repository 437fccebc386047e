"""The peer of `loader.py`: decord, one PIL image per frame, floats of whole frames.

It does what the published training code does, step by step and frame by frame, with the random
choices given from outside. Frames that several clips share are decoded once for each of them,
unless `decode_once` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from internvideo.video.augment import Augmentation, AugmentationDraw
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.randaugment import Operation
from internvideo.video.transforms import short_side_size

Frames = list[Image.Image]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def decode(path: str, indices: list[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(path, num_threads=1).get_batch(indices).asnumpy()


# ---------------------------------------------------------------- masked pretraining


def pretraining_clip(frames: np.ndarray, draw: AugmentationDraw, size: int) -> Tensor:
    """Return "c t s s": crop and resize images, stack, scale, normalise."""
    top, left, height, width = draw.box
    images = [Image.fromarray(frame).convert("RGB") for frame in frames]
    images = [image.crop((left, top, left + width, top + height)) for image in images]
    images = [image.resize((size, size), Image.Resampling.BILINEAR) for image in images]
    if draw.flip:
        images = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
    stacked = np.concatenate([np.array(image) for image in images], axis=2)
    clip = torch.from_numpy(stacked).permute(2, 0, 1).contiguous().float().div(255.0)
    for plane, mean, std in zip(clip, MEAN * len(frames), STD * len(frames), strict=True):
        plane.sub_(mean).div_(std)
    return clip.view(len(frames), 3, size, size).transpose(0, 1)


# ---------------------------------------------------------------- fine-tuning


def finetuning_clip(frames: np.ndarray, draw: AugmentationDraw, size: int) -> Tensor:
    """Return "c t s s": RandAugment, normalise whole frames, crop and resize, flip, erase."""
    images = [Image.fromarray(frame) for frame in frames]
    for operation in draw.operations:
        if operation is not None:
            images = [augment_image(image, operation) for image in images]
    tensors = [torch.from_numpy(np.array(i)).permute(2, 0, 1).float() / 255 for i in images]
    clip = torch.stack(tensors).permute(0, 2, 3, 1)
    clip = (clip - torch.tensor(MEAN)) / torch.tensor(STD)
    clip = clip.permute(3, 0, 1, 2)
    top, left, height, width = draw.box
    clip = clip[:, :, top : top + height, left : left + width]
    clip = F.interpolate(clip, size=(size, size), mode="bilinear", align_corners=False)
    if draw.flip:
        clip = clip.flip(-1)
    if draw.erased is not None:
        top, left, height, width = draw.erased
        clip = clip.permute(1, 0, 2, 3)
        for frame in clip:
            frame[:, top : top + height, left : left + width] = torch.empty(
                (3, height, width)
            ).normal_()
        clip = clip.permute(1, 0, 2, 3)
    return clip


def augment_image(image: Image.Image, operation: Operation) -> Image.Image:
    """Apply one RandAugment operation to one image with Pillow."""
    name, value = operation
    width, height = image.size
    enhancers: dict[str, Callable[[Image.Image], ImageEnhance._Enhance]] = {
        "Color": ImageEnhance.Color,
        "Contrast": ImageEnhance.Contrast,
        "Brightness": ImageEnhance.Brightness,
        "Sharpness": ImageEnhance.Sharpness,
    }
    matrices = {
        "ShearX": (1, value, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, value, 1, 0),
        "TranslateX": (1, 0, value * width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, value * height),
    }
    if name in enhancers:
        return enhancers[name](image).enhance(value)
    if name in matrices:
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            matrices[name],
            resample=Image.Resampling.BICUBIC,
            fillcolor=(128, 128, 128),
        )
    match name:
        case "Rotate":
            return image.rotate(value, resample=Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
        case "AutoContrast":
            return ImageOps.autocontrast(image)
        case "Equalize":
            return ImageOps.equalize(image)
        case "Invert":
            return ImageOps.invert(image)
        case "Posterize":
            return ImageOps.posterize(image, int(value)) if value else image.point([0] * 768)
        case "Solarize":
            return ImageOps.solarize(image, int(value))
        case "SolarizeAdd":
            table = [min(255, i + int(value)) if i < 128 else i for i in range(256)]
            return image.point(table * 3)
    raise ValueError(f"unknown operation {name}")


# ---------------------------------------------------------------- training and evaluation


def training_clips(
    path: str,
    indices: list[int],
    draws: list[AugmentationDraw],
    augmentation: Augmentation,
    *,
    decode_once: bool,
) -> Tensor:
    """Return "n c t s s", one clip for each draw."""
    make = pretraining_clip if augmentation.crop == "multi-scale" else finetuning_clip
    frames = decode(path, indices) if decode_once else None
    clips = []
    for draw in draws:
        given = decode(path, indices) if frames is None else frames
        clips.append(make(given, draw, augmentation.size))
    return torch.stack(clips)


def evaluation_views(path: Path, protocol: Preprocessing) -> Tensor:
    """Return "v c t s s": every view decodes and resizes the strided video for itself."""
    import cv2
    import decord

    views = []
    for clip in range(protocol.num_clips):
        for crop in range(protocol.num_crops):
            reader = decord.VideoReader(str(path), num_threads=1)
            indices = list(range(0, len(reader), protocol.frame_stride))
            while len(indices) < protocol.num_frames:
                indices.append(indices[-1])
            frames = reader.get_batch(indices).asnumpy()
            _, height, width, _ = frames.shape
            height, width = short_side_size(height, width, protocol.resize_size)
            buffer = np.stack([cv2.resize(frame, (width, height)) for frame in frames])
            step = max(len(buffer) - protocol.num_frames, 0) / (protocol.num_clips - 1)
            start = int(clip * step)
            buffer = buffer[start : start + protocol.num_frames]
            room = (max(height, width) - protocol.resize_size) / (protocol.num_crops - 1)
            offset = int(crop * room)
            along = slice(offset, offset + protocol.resize_size)
            buffer = buffer[:, along] if height >= width else buffer[:, :, along]
            images = [torch.from_numpy(np.ascontiguousarray(f.transpose(2, 0, 1))) for f in buffer]
            clip_of = torch.stack(images).float().div(255).permute(1, 0, 2, 3)
            for plane, mean, std in zip(clip_of, MEAN, STD, strict=True):
                plane.sub_(mean).div_(std)
            views.append(clip_of)
    return torch.stack(views)
