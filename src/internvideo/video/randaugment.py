"""RandAugment for clips, equal to the per-frame Pillow code of the published recipes.

Each of the drawn operations is applied with the same argument to all frames of a clip. A clip that
is going to be cropped needs its operations only inside the crop, so `apply_randaugment` asks, from
the last operation back to the first, which part of the frames the next one looks at; whole frames
are touched only by the operations that measure a histogram.

Source: fixtures `videomae-randaugment-ops` and `uniformerv2-randaug-ops`; arXiv 1909.13719.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from internvideo.errors import ConfigError
from internvideo.video import pixel_operations as pixels
from internvideo.video import warps
from internvideo.video.randomness import RandomSource
from internvideo.video.transforms import CropBox

__all__ = [
    "OPERATIONS",
    "Operation",
    "RandAugmentRule",
    "apply_randaugment",
    "draw_randaugment",
    "inverse_affine",
    "operation_argument",
    "parse_randaugment",
]

OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
"""The operations, in the official order; all grow stronger with the magnitude."""

_MAX_MAGNITUDE = 10.0
_FORMAT = "'rand-m7-n4-mstd0.5-inc1' (magnitude, number, its spread, stronger when larger)"


class Operation(NamedTuple):
    """One operation and its argument: degrees, bits, a threshold, a factor or a share."""

    name: str
    argument: float = 0.0


# ---------------------------------------------------------------- drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class RandAugmentRule:
    """What is drawn: `num_operations` times, with `probability`, one of `OPERATIONS`.

    Attributes:
        magnitude: mean strength, of 10.
        magnitude_std: spread of the strength.
        num_operations: draws per clip.
        probability: that a drawn operation is applied.
    """

    magnitude: float
    magnitude_std: float = 0.0
    num_operations: int = 2
    probability: float = 0.5


def parse_randaugment(text: str) -> RandAugmentRule:
    """Read the official notation, `rand-m7-n4-mstd0.5-inc1`.

    Raises:
        ConfigError: another notation, a part that is unknown or missing, or an impossible number.
    """
    kind, *parts = text.split("-")
    values: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"(m|n|mstd|inc|p)(\d+(?:\.\d+)?)", part)
        if match is None or match[1] in values:
            raise ConfigError(f"randaugment {text!r}: cannot read {part!r}; expected {_FORMAT}")
        values[match[1]] = float(match[2])
    if kind != "rand" or "m" not in values or values.get("inc") != 1:
        raise ConfigError(f"randaugment is {text!r}; expected 'rand', '-m…' and '-inc1': {_FORMAT}")
    number, probability = values.get("n", 2.0), values.get("p", 0.5)
    if values["m"] > _MAX_MAGNITUDE or probability > 1 or number != int(number):
        raise ConfigError(f"randaugment {text!r}: expected m <= 10, p <= 1 and a whole n")
    return RandAugmentRule(
        magnitude=values["m"],
        magnitude_std=values.get("mstd", 0.0),
        num_operations=int(number),
        probability=probability,
    )


def draw_randaugment(
    rule: RandAugmentRule | str, *, rng: RandomSource
) -> tuple[Operation | None, ...]:
    """Draw the operations of one clip; None where a drawn one is not applied."""
    if isinstance(rule, str):
        rule = parse_randaugment(rule)
    drawn: list[Operation | None] = []
    for _ in range(rule.num_operations):
        name = OPERATIONS[rng.randint(0, len(OPERATIONS) - 1)]
        if rng.uniform(0, 1) >= rule.probability:
            drawn.append(None)
            continue
        magnitude = rng.gauss(rule.magnitude, rule.magnitude_std)
        magnitude = min(max(magnitude, 0.0), _MAX_MAGNITUDE)
        argument = operation_argument(name, magnitude, negative=rng.uniform(0, 1) > 0.5)
        drawn.append(Operation(name, argument))
    return tuple(drawn)


def operation_argument(name: str, magnitude: float, *, negative: bool = False) -> float:
    """Return the argument of an operation at `magnitude` of 10; `negative` where it has a sign.

    Degrees for Rotate, bits kept for Posterize, the threshold of Solarize, what SolarizeAdd adds,
    the factor of Color, Contrast, Brightness and Sharpness, the slope of the shears, the share of
    the width or height of the translations, 0 for the others.
    """
    level = magnitude / _MAX_MAGNITUDE
    sign = -1.0 if negative else 1.0
    match name:
        case "Rotate":
            return sign * level * 30.0
        case "Posterize":
            return 4.0 - int(level * 4)
        case "Solarize":
            return 256.0 - int(level * 256)
        case "SolarizeAdd":
            return float(int(level * 110))
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return 1.0 + sign * level * 0.9
        case "ShearX" | "ShearY":
            return sign * level * 0.3
        case "TranslateX" | "TranslateY":
            return sign * level * 0.45
        case "AutoContrast" | "Equalize" | "Invert":
            return 0.0
        case _:
            raise ConfigError(f"no operation {name!r}; one of: {', '.join(OPERATIONS)}")


# ---------------------------------------------------------------- applied


def apply_randaugment(
    frames: UInt8[np.ndarray, "t h w 3"],
    operations: Sequence[Operation | None],
    *,
    region: CropBox | None = None,
) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """Apply operations to all frames of a clip; return `region` of the result.

    Args:
        frames: whole frames; geometric operations and histograms refer to them.
        operations: applied in this order; None is skipped.
        region: the part of the result that is wanted; None is all of it.
    """
    height, width = frames.shape[1:3]
    whole = CropBox(0, 0, height, width)
    wanted = [region or whole]
    applied = [operation for operation in operations if operation is not None]
    for operation in reversed(applied):
        wanted.append(_looked_at(operation, wanted[-1], whole))
    wanted.reverse()
    result = _cut(frames, whole, wanted[0])
    for operation, given, asked in zip(applied, wanted, wanted[1:], strict=False):
        result = _apply(operation, result, given=given, asked=asked, whole=whole)
    return result


def _looked_at(operation: Operation, asked: CropBox, whole: CropBox) -> CropBox:
    """Return the part of the frames that an operation reads to produce the part `asked`."""
    match operation.name:
        case "AutoContrast" | "Equalize" | "Contrast":
            return whole
        case "Sharpness":
            return warps.grown(asked, whole, margin=1)
        case "Rotate" | "ShearX" | "ShearY" | "TranslateX" | "TranslateY":
            matrix = inverse_affine(operation, whole.height, whole.width)
            return warps.affine_source(asked, whole, matrix)
        case _:
            return asked


def _apply(
    operation: Operation, frames: np.ndarray, *, given: CropBox, asked: CropBox, whole: CropBox
) -> np.ndarray:
    """Apply one operation to the part `given` of the frames; return the part `asked`."""
    name, argument = operation
    match name:
        case "AutoContrast":
            return pixels.auto_contrast(frames, target=_cut(frames, given, asked))
        case "Equalize":
            return pixels.equalize(frames, target=_cut(frames, given, asked))
        case "Contrast":
            return pixels.contrast(frames, argument, target=_cut(frames, given, asked))
        case "Invert":
            return pixels.invert(frames)
        case "Posterize":
            return pixels.posterize(frames, int(argument))
        case "Solarize":
            return pixels.solarize(frames, int(argument))
        case "SolarizeAdd":
            return pixels.solarize_add(frames, int(argument))
        case "Color":
            return pixels.color(frames, argument)
        case "Brightness":
            return pixels.brightness(frames, argument)
        case "Sharpness":
            return _cut(pixels.sharpness(frames, argument), given, asked)
        case "Rotate" | "ShearX" | "ShearY" | "TranslateX" | "TranslateY":
            matrix = inverse_affine(operation, whole.height, whole.width)
            return warps.affine(frames, matrix, given=given, asked=asked, whole=whole)
        case _:
            raise ConfigError(f"no operation {name!r}; one of: {', '.join(OPERATIONS)}")


def inverse_affine(operation: Operation, height: int, width: int) -> warps.Affine:
    """Return the map from places in the result to places in the frame, (x, y) from the corner."""
    name, argument = operation
    match name:
        case "ShearX":
            return (1.0, argument, 0.0, 0.0, 1.0, 0.0)
        case "ShearY":
            return (1.0, 0.0, 0.0, argument, 1.0, 0.0)
        case "TranslateX":
            return (1.0, 0.0, argument * width, 0.0, 1.0, 0.0)
        case "TranslateY":
            return (1.0, 0.0, 0.0, 0.0, 1.0, argument * height)
        case "Rotate":
            # in the steps of Pillow, which takes angles from 0 on and keeps 15 digits
            angle = -math.radians(argument % 360.0)
            cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
            x, y = width / 2, height / 2
            return (
                *(cosine, sine, cosine * -x + sine * -y + x),
                *(-sine, cosine, -sine * -x + cosine * -y + y),
            )
        case _:
            raise ConfigError(f"{name!r} is not a geometric operation")


def _cut(frames: np.ndarray, given: CropBox, asked: CropBox) -> np.ndarray:
    """Cut the part `asked` out of the part `given` of the frames; a view."""
    top, left = asked.top - given.top, asked.left - given.left
    return frames[:, top : top + asked.height, left : left + asked.width]
