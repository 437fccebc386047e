"""RandAugment for a batch of clips on any device, each clip with operations of its own.

The same operations and arguments as in `randaugment`, in PyTorch and after the crop. Point
operations differ from Pillow by at most one grey level. Geometry is bilinear instead of bicubic and
refers to the crop instead of the frame, so this is another augmentation, with presets of its own
name (`videomae-finetune-fast`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from internvideo.video.pixel_operations import sharpen_inside_
from internvideo.video.randaugment import OPERATIONS, Operation, inverse_affine
from internvideo.video.warps import FILL

__all__ = ["apply_to_clips", "randaugment_clips"]

Clips: TypeAlias = UInt8[Tensor, "b 3 t h w"]

_GREY = (19595 / 65536, 38470 / 65536, 7471 / 65536)
_SLACK = 1e-3  # float32 may end just below a whole grey level; values are cut off, as in Pillow


def randaugment_clips(
    clips: Clips, operations: Int[Tensor, "b n"], arguments: Float[Tensor, "b n"]
) -> Clips:
    """Apply to each clip its own operations, one after the other.

    Args:
        clips: crops; they are not changed.
        operations: positions in `OPERATIONS`; -1 does nothing. On the CPU, else the host waits.
        arguments: as from `operation_argument`; on the CPU likewise.
    """
    numbers, values = operations.tolist(), arguments.tolist()
    if not any(number >= 0 for row in numbers for number in row):
        return clips
    clips = clips.clone()
    for layer in range(operations.shape[1]):
        for number, name in enumerate(OPERATIONS):
            rows = [row for row, drawn in enumerate(numbers) if drawn[layer] == number]
            chosen = [values[row][layer] for row in rows]
            if clips.device.type == "cpu":  # one by one: a clip stays in the cache
                for row, value in zip(rows, chosen, strict=True):
                    clip = clips[row : row + 1]
                    clip.copy_(apply_to_clips(name, clip, [value]))
            elif rows:
                index = _sent(torch.tensor(rows), clips.device)
                clips[index] = apply_to_clips(name, clips[index], chosen)
    return clips


def apply_to_clips(name: str, clips: Clips, arguments: Sequence[float]) -> Clips:
    """Apply one operation to all clips, with an argument for each."""
    if name in _GEOMETRIC:
        return _affine(name, clips, arguments)
    values = _sent(torch.tensor(arguments, dtype=torch.float32), clips.device)
    return _POINT[name](clips, values.view(-1, 1, 1, 1, 1))


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on its way to the device: the host does not wait until it is there."""
    return values.to(device, non_blocking=device.type == "cuda")


# ---------------------------------------------------------------- points


def _invert(clips: Clips, _: Tensor) -> Clips:
    return 255 - clips


def _posterize(clips: Clips, bits: Tensor) -> Clips:
    dropped = 2.0 ** (8 - bits)
    return clips & (256 - dropped).to(torch.uint8)


def _solarize(clips: Clips, threshold: Tensor) -> Clips:
    return torch.where(clips.to(torch.int16) < threshold.to(torch.int16), clips, 255 - clips)


def _solarize_add(clips: Clips, addend: Tensor) -> Clips:
    raised = clips.to(torch.int16).add_(addend.to(torch.int16)).clamp_(max=255)
    return torch.where(clips < 128, raised.to(torch.uint8), clips)


def _brightness(clips: Clips, factor: Tensor) -> Clips:
    return _cut_off(clips.float().mul_(factor))


def _contrast(clips: Clips, factor: Tensor) -> Clips:
    mean = (_grey(clips).mean(dim=(3, 4), keepdim=True) + 0.5).floor_()
    return _cut_off(torch.lerp(mean, clips.float(), factor))


def _color(clips: Clips, factor: Tensor) -> Clips:
    return _cut_off(torch.lerp(_grey(clips), clips.float(), factor))


def _sharpness(clips: Clips, factor: Tensor) -> Clips:
    sharpened = clips.clone()
    if min(clips.shape[-2:]) >= 3:
        sharpen_inside_(sharpened, clips.to(torch.int16), factor)
    return sharpened


def _auto_contrast(clips: Clips, _: Tensor) -> Clips:
    values = clips.flatten(3)
    low, high = (e[..., None, None].float() for e in (values.amin(dim=3), values.amax(dim=3)))
    flat = low == high
    scale = torch.where(flat, 1, 255 / (high - low))
    return _cut_off(clips.float().sub_(low.masked_fill(flat, 0)).mul_(scale))


def _equalize(clips: Clips, _: Tensor) -> Clips:
    pixels = clips.flatten(3).flatten(0, 2).long()
    counts = torch.zeros(len(pixels), 256, dtype=torch.int64, device=clips.device)
    counts.scatter_add_(1, pixels, torch.ones((), dtype=torch.int64).to(counts).expand_as(pixels))
    brightest = pixels.amax(dim=1, keepdim=True)
    step = (pixels.shape[1] - counts.gather(1, brightest)) // 255
    below = counts.cumsum(dim=1) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=clips.device))
    return table.to(torch.uint8).gather(1, pixels).view(clips.shape)


def _grey(clips: Clips) -> Float[Tensor, "b 1 t h w"]:
    """Return the brightness, rounded to whole levels as Pillow does."""
    red, green, blue = (
        plane.float().mul_(weight) for plane, weight in zip(clips.unbind(1), _GREY, strict=True)
    )
    return red.add_(green).add_(blue).add_(0.5).floor_()[:, None]


def _cut_off(values: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    return values.add_(_SLACK).clamp_(0, 255).to(torch.uint8)


_POINT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Color": _color,
    "Contrast": _contrast,
    "Brightness": _brightness,
    "Sharpness": _sharpness,
}


# ---------------------------------------------------------------- geometry

_GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def _affine(name: str, clips: Clips, arguments: Sequence[float]) -> Clips:
    """Move pixels bilinearly; what comes from outside the crop is grey."""
    height, width = clips.shape[-2:]
    matrices = torch.tensor(
        [inverse_affine(Operation(name, argument), height, width) for argument in arguments]
    )
    matrices = _sent(matrices, clips.device)
    a, b, c, d, e, f = matrices[:, :, None, None].unbind(1)
    row = torch.arange(height, device=clips.device)[:, None] + 0.5
    column = torch.arange(width, device=clips.device) + 0.5
    # not a product of matrices, which mixed precision would round to less than a pixel
    x, y = a * column + b * row + c, d * column + e * row + f
    inside = ((x >= 0) & (x < width) & (y >= 0) & (y < height))[:, None]
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)
    planes = clips.flatten(1, 2).float()
    moved = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    moved = torch.where(inside, moved.add_(_SLACK), FILL).to(torch.uint8)
    return moved.view(clips.shape)
