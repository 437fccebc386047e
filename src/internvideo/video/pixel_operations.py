"""The pixel operations of RandAugment on whole `uint8` clips, equal to Pillow's in every value.

What Pillow does frame by frame in Python is done here once per clip: tables that are the same for
all frames are applied to the clip as one image, and only tables that depend on a frame's histogram
go frame by frame. The geometric operations are in `warps`.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Int16, UInt8
from PIL import Image
from torch import Tensor

__all__ = [
    "auto_contrast",
    "brightness",
    "color",
    "contrast",
    "equalize",
    "invert",
    "posterize",
    "sharpen_inside_",
    "sharpness",
    "solarize",
    "solarize_add",
]

Frames: TypeAlias = UInt8[np.ndarray, "t h w 3"]
_LEVELS = np.arange(256, dtype=np.uint8)


# ---------------------------------------------------------------- the same table for all frames


def invert(frames: Frames) -> Frames:
    """Turn every value v into 255 - v."""
    return 255 - frames


def posterize(frames: Frames, bits: int) -> Frames:
    """Keep the upper `bits` of every value; 0 bits make a black clip, where Pillow refuses."""
    return frames & np.uint8(256 - (1 << (8 - bits)) if bits else 0)


def solarize(frames: Frames, threshold: int) -> Frames:
    """Invert the values from `threshold` on."""
    return _look_up(frames, np.where(np.arange(256) < threshold, _LEVELS, 255 - _LEVELS))


def solarize_add(frames: Frames, addend: int) -> Frames:
    """Add to the values below 128, up to 255."""
    raised = np.minimum(np.arange(256) + addend, 255)
    return _look_up(frames, np.where(_LEVELS < 128, raised, _LEVELS).astype(np.uint8))


def brightness(frames: Frames, factor: float) -> Frames:
    """Blend with black; a factor of 1 changes nothing."""
    return _look_up(frames, _blend(np.zeros(256), _LEVELS, factor))


def _look_up(frames: Frames, table: UInt8[np.ndarray, "256"]) -> Frames:
    """Replace every value by its entry in a table."""
    changed = bytearray(np.ascontiguousarray(frames).data).translate(table.tobytes())
    return np.frombuffer(changed, dtype=np.uint8).reshape(frames.shape)


def _blend(start: np.ndarray, end: np.ndarray, factor: float) -> UInt8[np.ndarray, "*shape"]:
    """Return start + factor · (end - start) in the arithmetic of Pillow: float32, cut off."""
    start, end = start.astype(np.float32), end.astype(np.float32)
    mixed = start + np.float32(factor) * (end - start)
    return mixed.clip(0, 255).astype(np.uint8)


# ---------------------------------------------------------------- a table for each frame


def auto_contrast(frames: Frames, *, target: Frames) -> Frames:
    """Stretch each channel of each frame to the full range, as measured on `frames`.

    Args:
        frames: whole frames.
        target: the part of them that is changed and returned.
    """
    values = torch.from_numpy(np.ascontiguousarray(frames)).flatten(1, 2)
    low, high = (extreme.double().numpy() for extreme in torch.aminmax(values, dim=1))
    span = np.where(high > low, high - low, 255.0)
    scale = 255.0 / span
    offset = np.where(high > low, -low * scale, 0.0)
    tables = np.arange(256) * scale[..., None] + offset[..., None]
    return _look_up_each(target, tables.clip(0, 255).astype(np.uint8))


def equalize(frames: Frames, *, target: Frames) -> Frames:
    """Spread the histogram of each channel of each frame; arguments as for `auto_contrast`."""
    histograms = np.array([Image.fromarray(frame).histogram() for frame in frames])
    histograms = histograms.reshape(len(frames), 3, 256)
    tables = np.broadcast_to(_LEVELS, histograms.shape).copy()
    for table, counts in zip(tables.reshape(-1, 256), histograms.reshape(-1, 256), strict=True):
        present = counts[counts > 0]
        step = (present.sum() - present[-1]) // 255
        if len(present) > 1 and step:
            below = np.cumsum(counts) - counts
            table[:] = np.minimum((below + step // 2) // step, 255)
    return _look_up_each(target, tables)


def contrast(frames: Frames, factor: float, *, target: Frames) -> Frames:
    """Blend each frame with the grey of its mean brightness; see `auto_contrast`, `brightness`."""
    changed = np.empty_like(target)
    for new, old, frame in zip(changed, target, frames, strict=True):
        counts = np.array(Image.fromarray(frame).convert("L").histogram())
        mean = int(counts @ np.arange(256) / counts.sum() + 0.5)
        new[:] = _look_up(old[None], _blend(np.full(256, mean), _LEVELS, factor))[0]
    return changed


def _look_up_each(frames: Frames, tables: UInt8[np.ndarray, "t 3 256"]) -> Frames:
    changed = np.empty_like(frames)
    for new, frame, table in zip(changed, frames, tables, strict=True):
        new[:] = np.asarray(Image.fromarray(frame).point(table.ravel().tolist()))
    return changed


# ---------------------------------------------------------------- colours and neighbours


def color(frames: Frames, factor: float) -> Frames:
    """Blend every pixel with its own grey; 0 makes a grey clip, 1 changes nothing."""
    changed = np.empty_like(frames)
    for new, frame in zip(changed, frames, strict=True):
        image = Image.fromarray(frame)
        new[:] = np.asarray(Image.blend(image.convert("L").convert("RGB"), image, factor))
    return changed


def sharpness(frames: Frames, factor: float) -> Frames:
    """Blend with a 3x3 smoothing (centre 5 of 13) that leaves the border as it is."""
    clip = torch.from_numpy(np.ascontiguousarray(frames))
    changed = clip.clone()
    if min(clip.shape[1:3]) >= 3:
        for new, frame in zip(changed.flatten(2), clip.flatten(2), strict=True):
            # one by one: a frame stays in the cache
            sharpen_inside_(new, frame.to(torch.int16), factor, channels=3)
    return changed.numpy()


def sharpen_inside_(
    target: UInt8[Tensor, "*b h wc"],
    frames: Int16[Tensor, "*b h wc"],
    factor: float | Tensor,
    *,
    channels: int = 1,
) -> None:
    """Write the sharpened `frames` into `target`, but for its border of one pixel.

    Args:
        target: where to.
        frames: rows of pixels, each of `channels` values.
        factor: of the blend with the smoothed frames.
        channels: distance of neighbours in a row.
    """
    left, inside, right = (
        slice(None, -2 * channels),
        slice(channels, -channels),
        slice(2 * channels, None),
    )
    rows = frames[..., :-2, :] + frames[..., 1:-1, :]
    rows += frames[..., 2:, :]
    total = rows[..., left] + rows[..., inside]
    total += rows[..., right]
    middle = frames[..., 1:-1, inside]
    total += 4 * middle
    # the nearest whole number to total / 13, which is at most 255
    smooth = (total.to(torch.int32) * 2 + 13).mul_(20165).bitwise_right_shift_(19).float()
    smooth += (middle.float() - smooth).mul_(factor)
    target[..., 1:-1, inside] = smooth.clamp_(0, 255).to(torch.uint8)
