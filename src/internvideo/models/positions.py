"""Position tables: how they are made, and how they are fitted to another clip size.

Shapes: n = t·h·w tokens in the order time, row, column; d width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

__all__ = ["resample_positions", "sinusoid_table"]


def sinusoid_table(
    num_positions: int, width: int, *, device: torch.device | str | None = None
) -> Float[Tensor, "1 n d"]:
    """Return the sine-cosine table of Vaswani et al. (2017) over the *flattened* token index.

    The angle of position p in channel j is `p / 10000^(2⌊j/2⌋ / d)`; even channels hold its sine,
    odd ones its cosine. Computed in float64, returned in float32.
    """
    position = torch.arange(num_positions, dtype=torch.float64, device=device)
    channel = torch.arange(width, device=device)
    frequency = 10000.0 ** (-2.0 * (channel // 2).double() / width)
    angle = position[:, None] * frequency  # n d
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()[None]


def resample_positions(
    table: Float[Tensor, "1 n d"],
    old_grid: tuple[int, int, int],
    new_grid: tuple[int, int, int],
) -> Float[Tensor, "1 m d"]:
    """Fit a position table to another grid of (time, rows, columns).

    The rule of the official loader: rows and columns first (bicubic, each time step alone), then
    time (linear, each place alone), both with `align_corners=False` and without antialiasing. A
    step that changes nothing is left out.

    Raises:
        ValueError: the table does not have as many rows as `old_grid` has cells.
    """
    t, h, w = old_grid
    new_t, new_h, new_w = new_grid
    if table.shape[1] != t * h * w:
        raise ValueError(
            f"a position table of {table.shape[1]} rows does not fit a grid of {t}x{h}x{w} tokens"
        )
    volume = rearrange(table[0], "(t h w) d -> t d h w", t=t, h=h, w=w)
    if (h, w) != (new_h, new_w):
        volume = F.interpolate(
            volume.float(), size=(new_h, new_w), mode="bicubic", align_corners=False
        )
    if t != new_t:
        series = rearrange(volume.float(), "t d h w -> (h w) d t")
        series = F.interpolate(series, size=new_t, mode="linear", align_corners=False)
        volume = rearrange(series, "(h w) d t -> t d h w", h=new_h)
    return rearrange(volume, "t d h w -> 1 (t h w) d").to(table.dtype)
