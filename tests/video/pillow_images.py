"""RandAugment as the published code does it: one Pillow image at a time, whole frames."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from internvideo.video.randaugment import Operation

GREY = (128, 128, 128)
BICUBIC = Image.Resampling.BICUBIC


def augment_clip(
    frames: np.ndarray, operations: list[Operation], *, resample: Image.Resampling = BICUBIC
) -> np.ndarray:
    images = [Image.fromarray(frame) for frame in frames]
    for operation in operations:
        images = [augment_image(image, operation, resample) for image in images]
    return np.stack([np.asarray(image) for image in images])


def augment_image(
    image: Image.Image, operation: Operation, resample: Image.Resampling
) -> Image.Image:
    name, value = operation
    width, height = image.size
    warps = {
        "ShearX": (1, value, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, value, 1, 0),
        "TranslateX": (1, 0, value * width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, value * height),
    }
    match name:
        case "AutoContrast":
            return ImageOps.autocontrast(image)
        case "Equalize":
            return ImageOps.equalize(image)
        case "Invert":
            return ImageOps.invert(image)
        case "Posterize":
            return ImageOps.posterize(image, int(value))
        case "Solarize":
            return ImageOps.solarize(image, int(value))
        case "SolarizeAdd":
            return image.point([min(255, i + int(value)) if i < 128 else i for i in range(256)] * 3)
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return getattr(ImageEnhance, name)(image).enhance(value)
        case "Rotate":
            return image.rotate(value, resample=resample, fillcolor=GREY)
    affine = Image.Transform.AFFINE
    return image.transform(image.size, affine, warps[name], resample=resample, fillcolor=GREY)
