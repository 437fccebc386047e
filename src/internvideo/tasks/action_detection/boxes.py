"""Arithmetic of boxes in pixels, as the published data pipeline does it.

Boxes are left, top, right and bottom pixel, the last ones included: a box of width w has its right
side at left + w - 1, and pixels go from 0 to the size of the picture less 1. Sizes are (width,
height).

Source: the box lists of AlphAction (fixture `stal-boxes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = [
    "EXTENSION",
    "Jitter",
    "areas",
    "clip",
    "crop",
    "extend",
    "flip",
    "from_fractions",
    "from_xywh",
    "has_area",
    "jitter",
    "resize",
    "to_fractions",
    "to_xywh",
]

Boxes = Float[Tensor, "n 4"]
Size = tuple[float, float]

EXTENSION = (0.1, 0.05)
"""By which share of itself a box grows before it is looked at, along x and y."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Jitter:
    """How far sides of boxes move in training, as shares of the box.

    Attributes:
        x_out: left and right side, outwards.
        x_in: left and right side, inwards.
        y_out: top and bottom side, outwards.
        y_in: top and bottom side, inwards.
    """

    x_out: float = 0.2
    x_in: float = 0.1
    y_out: float = 0.1
    y_in: float = 0.05


def from_xywh(boxes: Boxes) -> Boxes:
    """Turn left, top, width and height into sides."""
    x, y, w, h = boxes.unbind(dim=1)
    return torch.stack([x, y, x + (w - 1).clamp(min=0), y + (h - 1).clamp(min=0)], dim=1)


def to_xywh(boxes: Boxes) -> Boxes:
    """Turn sides into left, top, width and height."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return torch.stack([x1, y1, x2 - x1 + 1, y2 - y1 + 1], dim=1)


def areas(boxes: Boxes) -> Float[Tensor, " n"]:
    """Return how many pixels are in each box."""
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)


def clip(boxes: Boxes, size: Size) -> Boxes:
    """Move sides that are outside of the picture to its border."""
    last = boxes.new_tensor([size[0] - 1, size[1] - 1] * 2)
    return boxes.clamp(min=0).minimum(last)


def has_area(boxes: Boxes) -> Bool[Tensor, " n"]:
    """Tell which boxes are wider and higher than one pixel."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def resize(boxes: Boxes, old: Size, new: Size) -> Boxes:
    """Scale boxes with their picture."""
    x, y = new[0] / old[0], new[1] / old[1]
    return boxes * boxes.new_tensor([x, y, x, y])


def extend(boxes: Boxes, share: tuple[float, float], size: Size) -> Boxes:
    """Let boxes grow by a share of themselves along x and y, half of it on each side."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    dx, dy = share[0] * (x2 - x1 + 1) / 2, share[1] * (y2 - y1 + 1) / 2
    return clip(torch.stack([x1 - dx, y1 - dy, x2 + dx, y2 + dy], dim=1), size)


def jitter(boxes: Boxes, drawn: Float[Tensor, "n 4"], by: Jitter, size: Size) -> Boxes:
    """Move each side at random; a box keeps at least one pixel, inside the picture.

    Args:
        boxes: in the picture.
        drawn: uniform numbers from 0 to 1 for left, top, right and bottom.
        by: how far.
        size: of the picture.
    """
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    w, h = x2 - x1 + 1, y2 - y1 + 1
    left, top, right, bottom = drawn.unbind(dim=1)
    x1 = x1 + w * (left * (by.x_out + by.x_in) - by.x_out)
    y1 = y1 + h * (top * (by.y_out + by.y_in) - by.y_out)
    x2 = x2 + w * (right * (by.x_in + by.x_out) - by.x_in)
    y2 = y2 + h * (bottom * (by.y_in + by.y_out) - by.y_in)
    x1, y1 = x1.clamp(0, size[0] - 2), y1.clamp(0, size[1] - 2)
    x2 = x2.clamp(max=size[0] - 1).maximum(x1 + 1)
    y2 = y2.clamp(max=size[1] - 1).maximum(y1 + 1)
    return torch.stack([x1, y1, x2, y2], dim=1)


def crop(boxes: Boxes, window: tuple[float, float, float, float]) -> Boxes:
    """Return boxes in a part of the picture, from x0, y0 to x1, y1.

    A box outside of it is kept without an area, as its label is. COMPAT: sides reach up to the
    width and height of the part, one pixel further than elsewhere (fixture `stal-boxes`).
    """
    x0, y0, x1, y1 = window
    last = boxes.new_tensor([x1 - x0, y1 - y0] * 2)
    return (boxes - boxes.new_tensor([x0, y0] * 2)).clamp(min=0).minimum(last)


def flip(boxes: Boxes, width: float) -> Boxes:
    """Return boxes in the mirror image."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return torch.stack([width - 1 - x2, y1, width - 1 - x1, y2], dim=1)


def from_fractions(boxes: Boxes, size: Size) -> Boxes:
    """Turn fractions of the picture into pixels, the last ones included."""
    x1, y1, x2, y2 = (boxes * boxes.new_tensor([size[0], size[1]] * 2)).unbind(dim=1)
    return torch.stack([x1, y1, (x2 - 1).maximum(x1), (y2 - 1).maximum(y1)], dim=1)


def to_fractions(boxes: Boxes, size: Size) -> Boxes:
    """Turn pixels into fractions of the picture, from 0 to 1."""
    ends = boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    return (ends / boxes.new_tensor([size[0], size[1]] * 2)).clamp(0, 1)
