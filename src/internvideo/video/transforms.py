"""Turn decoded frames into model input: resize, crop, channel order, normalisation.

Frames are `uint8` RGB in the layout of the decoder, `"t h w c"`; a clip is `float32` in the layout
of the models, `"c t h w"`. Everything that can stay `uint8` does: frames are cropped before they
are converted, and `normalize` writes the float clip once.

A resize of `uint8` frames rounds exactly as the program that a released model was trained with
rounds, because a published accuracy belongs to those pixels:

===========  ==========  ==========================================  =====================
antialias    bilinear    bicubic                                     used by
===========  ==========  ==========================================  =====================
False        OpenCV      PyTorch, rounded and clamped                VideoMAE; ViCLIP
True         Pillow      Pillow                                      InternVideo-MM, CLIP
===========  ==========  ==========================================  =====================

Unrounded, both are PyTorch's `interpolate` without corner alignment (UniFormerV2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import ConfigError

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "CropBox",
    "CropRounding",
    "Interpolation",
    "center_crop",
    "crop",
    "normalize",
    "resize",
    "resize_short_side",
    "reverse_channels",
    "short_side_size",
    "spatial_crops",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Frames: TypeAlias = UInt8[Tensor, "t h w c"] | Float[Tensor, "t h w c"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic"]
CropRounding: TypeAlias = Literal["floor", "even", "ceil", "steps"]


class CropBox(NamedTuple):
    """A rectangle of whole pixels inside a frame."""

    top: int
    left: int
    height: int
    width: int


# ---------------------------------------------------------------- resize


def short_side_size(
    height: int, width: int, size: int, *, nearest: bool = False
) -> tuple[int, int]:
    """Return (height, width) with the shorter side equal to `size`.

    The longer one is rounded down, or with `nearest` to the nearest pixel (MMAction2).
    """
    short, long = sorted((height, width))
    other = (2 * size * long + short) // (2 * short) if nearest else size * long // short
    return (size, other) if height <= width else (other, size)


def resize(
    frames: Frames,
    size: tuple[int, int],
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = False,
    rounded: bool = True,
    exact: bool = True,
) -> Frames:
    """Resize every frame to `size`, ignoring the aspect ratio.

    Args:
        frames: `uint8` or float `"t h w c"`.
        size: (height, width) of the result.
        interpolation: "bilinear" or "bicubic".
        antialias: widen the filter when shrinking; see the table in the module docstring.
        rounded: keep `uint8` frames `uint8`; False returns them as unrounded floats on the same
            scale. Float frames are never rounded.
        exact: False takes PyTorch's 8-bit filters where the table says OpenCV or Pillow: several
            times faster, and most pixels are the same or one grey level apart.

    Returns:
        The resized frames; the input itself when nothing has to change.

    Raises:
        ConfigError: the size is not positive, the interpolation is unknown, or antialiasing is
            asked for `uint8` frames outside the CPU (Pillow works there only).
    """
    if min(size) < 1:
        raise ConfigError(f"cannot resize frames to {size[0]}x{size[1]}")
    if interpolation not in ("bilinear", "bicubic"):
        raise ConfigError(
            f"unknown interpolation {interpolation!r}; expected 'bilinear' or 'bicubic'"
        )
    rounded = rounded and frames.dtype == torch.uint8
    if tuple(frames.shape[1:3]) == tuple(size):
        return frames if rounded else frames.float()
    if not rounded:
        return _interpolate(frames, size, interpolation, antialias)
    if antialias or interpolation == "bilinear":
        if not exact and frames.device.type == "cpu":
            return _resize_8_bit(frames, size, interpolation, antialias)
        if exact and antialias:
            return _resize_like_pillow(frames, size, interpolation)
        if exact:
            return _resize_like_opencv(frames, size)
    resized = _interpolate(frames, size, interpolation, antialias)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def resize_short_side(
    frames: Frames,
    size: int,
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = False,
    rounded: bool = True,
    nearest: bool = False,
) -> Frames:
    """Resize so that the shorter side becomes `size`; the aspect ratio is kept.

    `nearest` is that of `short_side_size`, the others are those of `resize`.
    """
    target = short_side_size(frames.shape[1], frames.shape[2], size, nearest=nearest)
    return resize(frames, target, interpolation=interpolation, antialias=antialias, rounded=rounded)


def _interpolate(
    frames: Frames, size: tuple[int, int], interpolation: str, antialias: bool
) -> Float[Tensor, "t h w c"]:
    """Resize in float32, frame by frame: a clip of large frames is never held as floats."""
    num_frames, _, _, channels = frames.shape
    resized = torch.empty(num_frames, *size, channels, dtype=torch.float32, device=frames.device)
    for target, frame in zip(resized, frames, strict=True):
        if interpolation == "bilinear" and not antialias:  # its kernel likes channels last
            planar = frame[None].float().permute(0, 3, 1, 2)
        else:
            planar = frame.permute(2, 0, 1)[None].float()
        planar = F.interpolate(
            planar, size=size, mode=interpolation, align_corners=False, antialias=antialias
        )
        target.copy_(planar[0].permute(1, 2, 0))
    return resized


def _resize_8_bit(
    frames: UInt8[Tensor, "t h w c"], size: tuple[int, int], interpolation: str, antialias: bool
) -> UInt8[Tensor, "t h w c"]:
    """Resize with PyTorch's integer filters, which have short weights and exist on the CPU only."""
    planar = frames.permute(0, 3, 1, 2)
    planar = F.interpolate(
        planar, size=size, mode=interpolation, align_corners=False, antialias=antialias
    )
    return planar.permute(0, 2, 3, 1).contiguous()


def _resize_like_pillow(
    frames: UInt8[Tensor, "t h w c"], size: tuple[int, int], interpolation: str
) -> UInt8[Tensor, "t h w c"]:
    """Resize with Pillow itself: PyTorch's antialiased filters differ by one grey level or more."""
    if frames.device.type != "cpu":
        raise ConfigError(
            f"antialiased resize of uint8 frames runs on the CPU, not on '{frames.device}'; "
            "move the frames there, or ask for unrounded frames"
        )
    from PIL import Image

    height, width = size
    resample = Image.Resampling[interpolation.upper()]
    resized = np.empty((frames.shape[0], height, width, frames.shape[3]), dtype=np.uint8)
    for target, frame in zip(resized, frames.numpy(), strict=True):
        target[:] = np.asarray(Image.fromarray(frame).resize((width, height), resample))
    return torch.from_numpy(resized)


_COEFFICIENT_BITS = 11  # OpenCV's 8-bit bilinear weights are integers out of 2048


def _resize_like_opencv(
    frames: UInt8[Tensor, "t h w c"], size: tuple[int, int]
) -> UInt8[Tensor, "t h w c"]:
    """Resize with the integer arithmetic of OpenCV's INTER_LINEAR, equal to it in every pixel.

    Rows are interpolated horizontally to 15 bits, then vertically; frames are done one by one, so
    that the intermediate values stay in the cache.
    """
    num_frames, height, width, channels = frames.shape
    new_height, new_width = size
    if (height, width) == (2 * new_height, 2 * new_width):
        return _halve(frames)
    device = frames.device
    top, bottom, top_weight, bottom_weight = _linear_taps(height, new_height, at_border="blend")
    left, right, left_weight, right_weight = _linear_taps(width, new_width, at_border="copy")
    rows, positions = np.unique(np.stack([top, bottom]), return_inverse=True)
    positions = torch.from_numpy(positions.reshape(2, -1)).to(device)
    rows = torch.from_numpy(rows).to(device)
    top_weight = torch.from_numpy(top_weight)[:, None].to(device)
    bottom_weight = torch.from_numpy(bottom_weight)[:, None].to(device)
    # a gather with an expanded index is faster than selecting columns
    columns = [_per_channel(t, channels).to(device).expand(len(rows), -1) for t in (left, right)]
    # dividing by 16 here leaves 4 fractional bits below the 15: exact in float32
    left_weight, right_weight = (
        torch.from_numpy(np.repeat(weight, channels).astype(np.float32) / 16).to(device)
        for weight in (left_weight, right_weight)
    )
    resized = frames.new_empty(num_frames, new_height, new_width, channels)
    for target, frame in zip(resized, frames, strict=True):
        source = frame.reshape(height, width * channels).index_select(0, rows).float()
        blended = source.gather(1, columns[0]).mul_(left_weight)
        blended.addcmul_(source.gather(1, columns[1]), right_weight)
        across = blended.to(torch.int32)
        above = across.index_select(0, positions[0]).mul_(top_weight).bitwise_right_shift_(16)
        below = across.index_select(0, positions[1]).mul_(bottom_weight).bitwise_right_shift_(16)
        above.add_(below).add_(2).bitwise_right_shift_(2)
        target.copy_(above.view(new_height, new_width, channels))
    return resized


def _linear_taps(
    old: int, new: int, *, at_border: Literal["copy", "blend"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the two source positions and two integer weights of every output position.

    Outside the image OpenCV copies the border pixel horizontally, and blends it with itself
    vertically, which rounds differently.
    """
    scale = 1.0 / (new / old)
    centres = ((np.arange(new) + 0.5) * scale - 0.5).astype(np.float32)
    before = np.floor(centres).astype(np.int64)
    fraction = centres - before.astype(np.float32)
    if at_border == "copy":
        fraction[(before < 0) | (before >= old - 1)] = 0
    one = np.float32(1 << _COEFFICIENT_BITS)
    weight_after = np.rint(fraction * one).astype(np.int32)
    weight_before = np.rint((np.float32(1) - fraction) * one).astype(np.int32)
    first, second = np.clip(before, 0, old - 1), np.clip(before + 1, 0, old - 1)
    return first, second, weight_before, weight_after


def _per_channel(columns: np.ndarray, channels: int) -> Tensor:
    """Turn pixel columns into element columns of a row of interleaved channels."""
    return torch.from_numpy((columns[:, None] * channels + np.arange(channels)).ravel())


def _halve(frames: UInt8[Tensor, "t h w c"]) -> UInt8[Tensor, "t h2 w2 c"]:
    """Average 2x2 pixels, rounding half up: what OpenCV does when both sides are halved."""
    wide = frames.to(torch.int16)
    rows = wide[:, 0::2] + wide[:, 1::2]
    total = rows[:, :, 0::2] + rows[:, :, 1::2]
    return total.add_(2).bitwise_right_shift_(2).to(torch.uint8)


# ---------------------------------------------------------------- crop


def crop(frames: Frames, box: CropBox) -> Frames:
    """Cut `box` out of every frame; a view, nothing is copied.

    Raises:
        ConfigError: the box does not lie inside the frame.
    """
    height, width = frames.shape[1:3]
    inside = 0 <= box.top <= height - box.height and 0 <= box.left <= width - box.width
    if not inside or min(box.height, box.width) < 1:
        raise ConfigError(f"{box} does not lie inside a frame of {height}x{width}")
    return frames[:, box.top : box.top + box.height, box.left : box.left + box.width]


def center_crop(frames: Frames, size: int, *, rounding: CropRounding = "even") -> Frames:
    """Cut the central square of `size` pixels; `rounding` places it when the margin is odd."""
    (box,) = spatial_crops(frames.shape[1], frames.shape[2], size, rounding=rounding)
    return crop(frames, box)


def spatial_crops(
    height: int, width: int, size: int, *, num_crops: int = 1, rounding: CropRounding = "floor"
) -> list[CropBox]:
    """Return square crops spread evenly along the longer side, from left or top to right or bottom.

    Args:
        height: of the frame.
        width: of the frame.
        size: side of the crops.
        num_crops: how many; a single crop lies in the centre.
        rounding: of half-pixel positions: "floor" (VideoMAE test), "ceil" (UniFormerV2) or "even"
            (half to even: VideoMAE validation, InternVideo-MM, torchvision); "steps" rounds the
            distance between crops down, so that the last may miss the border (MMAction2).

    Raises:
        ConfigError: the crop is larger than the frame.
    """
    if min(height, width) < size:
        raise ConfigError(f"cannot cut {size}x{size} out of a frame of {height}x{width}")
    if num_crops < 1:
        raise ConfigError(f"num_crops is {num_crops}; it must be at least 1")
    across = _round_offset((min(height, width) - size) / 2, rounding)
    room = max(height, width) - size
    # multiply before dividing: the last crop must end exactly at the border
    offsets = (
        [k * room / (num_crops - 1) for k in range(num_crops)] if num_crops > 1 else [room / 2]
    )
    if rounding == "steps" and num_crops > 1:
        offsets = [k * (room // (num_crops - 1)) for k in range(num_crops)]
    along = [_round_offset(offset, rounding) for offset in offsets]
    if height > width:
        return [CropBox(offset, across, size, size) for offset in along]
    return [CropBox(across, offset, size, size) for offset in along]


def _round_offset(offset: float, rounding: CropRounding) -> int:
    match rounding:
        case "floor" | "steps":
            return math.floor(offset)
        case "ceil":
            return math.ceil(offset)
        case "even":
            return round(offset)
        case _:
            raise ConfigError(
                f"unknown crop rounding {rounding!r}; expected 'floor', 'even', 'ceil' or 'steps'"
            )


# ---------------------------------------------------------------- values


def reverse_channels(frames: Tensor) -> Tensor:
    """Turn RGB frames into BGR, or back; channels are the last dimension."""
    return frames.flip(-1)


def normalize(
    frames: UInt8[Tensor, "*batch t h w c"] | Float[Tensor, "*batch t h w c"],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    out: Tensor | None = None,
) -> Float[Tensor, "*batch c t h w"]:
    """Scale frames from [0, 255] to [0, 1], subtract `mean`, divide by `std`.

    Both steps are one multiplication and one addition per value, in the buffer of the result.

    Args:
        frames: `uint8`, or float on the same scale; any number of leading batch dimensions.
        mean: one value per channel, on the scale [0, 1].
        std: one positive value per channel.
        out: a float32 buffer of the result's shape to write into; by default a new one.

    Returns:
        The clip or clips, float32.
    """
    channels = frames.shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ConfigError(
            f"mean has {len(mean)} and std {len(std)} values for frames of {channels} channels"
        )
    channels_first = frames.movedim(-1, -4)
    if out is None:
        clip = torch.empty(channels_first.shape, dtype=torch.float32, device=frames.device)
    else:
        clip = out
    planes = zip(clip.unbind(-4), channels_first.unbind(-4), mean, std, strict=True)
    for plane, values, channel_mean, channel_std in planes:  # one after the other: stays in cache
        plane.copy_(values).mul_(1 / (255 * channel_std)).add_(-channel_mean / channel_std)
    return clip
