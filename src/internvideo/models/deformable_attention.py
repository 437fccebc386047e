"""Multi-scale deformable attention: each query reads a few points of each map of a pyramid.

The published fallback without a compiled kernel samples every level with `grid_sample`, keeps all
samples, and then weighs them. Here the four pixels around a point get one weight each (attention
times bilinear share), and `embedding_bag` sums them as it reads: samples are never written.

Letters: b batch, s pixels of all levels, h heads, d channels of a head, q queries, l levels, p
points, c = h d.

Source: Zhu et al. (2021), Deformable DETR, arXiv 2010.04159, equation 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

__all__ = ["DeformableAttention", "MapSizes", "deformable_attention"]

MapSizes = Sequence[tuple[int, int]]
"""Height and width of each level."""

_CHUNK = 1 << 17  # points of all heads that are weighed at once; what is known of them stays cached
_BEFORE, _BORDER = 1, 3  # rows and columns of zeros in front of a map, and in all


def deformable_attention(
    value: Float[Tensor, "b s h d"],
    sizes: MapSizes,
    locations: Float[Tensor, "b q h l p 2"],
    weights: Float[Tensor, "b q h l p"],
) -> Float[Tensor, "b q c"]:
    """Return the weighted sum of the values at some points, bilinear between pixels.

    Args:
        value: all pixels, level after level, row after row.
        sizes: of the levels.
        locations: x and y from 0 to 1 across each level; what is outside of it is zero.
        weights: of the points.
    """
    b, _, h, d = value.shape
    q, points = locations.shape[1], math.prod(locations.shape[3:5])
    table = _framed(value.float(), sizes)
    layout = _Layout.of(sizes, h, locations.shape[4], table.shape[1], value.device)
    table = table.reshape(-1, d)
    places = locations.float().reshape(b, q, -1)
    shares = weights.float().reshape(b, q, -1)
    # Gradients of the table are as large as it: in training it is read once, not chunk by chunk.
    is_trained = torch.is_grad_enabled() and (table.requires_grad or weights.requires_grad)
    step = q if is_trained else max(_CHUNK // (points * h), 1)
    parts: list[Tensor] = []
    for start in range(0, q, step):
        rows, parts_of = layout.corners(
            places[:, start : start + step], shares[:, start : start + step]
        )
        found = F.embedding_bag(rows, table, per_sample_weights=parts_of, mode="sum")
        parts.append(found.view(b, -1, h * d))
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).to(value.dtype)


def _framed(value: Float[Tensor, "b s h d"], sizes: MapSizes) -> Float[Tensor, "b t h d"]:
    """Surround each map by zeros, so that every point between pixels has four."""
    areas = [(height + _BORDER) * (width + _BORDER) for height, width in sizes]
    table = value.new_zeros(value.shape[0], sum(areas), *value.shape[2:])
    start = first = 0
    for (height, width), area in zip(sizes, areas, strict=True):
        inside = table[:, start : start + area].unflatten(1, (height + _BORDER, width + _BORDER))
        part = value[:, first : first + height * width].unflatten(1, (height, width))
        inside[:, _BEFORE : _BEFORE + height, _BEFORE : _BEFORE + width] = part
        start, first = start + area, first + height * width
    return table


@dataclass(frozen=True)
class _Layout:
    """Where the pixels of each point's map are; one number a head, level and point.

    Rows of numbers are as long as a query has points, for inner loops over tiny axes are slow.

    Attributes:
        num_heads: heads.
        num_rows: of the table of a picture, for each head.
        extents: width and height of the maps, in turn.
        widths: of the maps with their frames.
        starts: first pixels of the maps.
        heads: numbers of the heads.
    """

    num_heads: int
    num_rows: int
    extents: Float[Tensor, " n"]
    widths: Float[Tensor, " m"]
    starts: Float[Tensor, " m"]
    heads: Int[Tensor, " m"]

    @classmethod
    def of(
        cls, sizes: MapSizes, num_heads: int, num_points: int, num_rows: int, device: torch.device
    ) -> _Layout:
        areas = [(height + _BORDER) * (width + _BORDER) for height, width in sizes]

        def row(numbers: Sequence[Any], dtype: torch.dtype = torch.float32) -> Tensor:
            levels = torch.tensor(numbers, device=device, dtype=dtype)
            each = levels.repeat_interleave(num_points, dim=0)
            return each.repeat(num_heads, *[1] * (each.ndim - 1)).flatten()

        heads = torch.arange(num_heads, device=device, dtype=torch.int32)
        return cls(
            num_heads=num_heads,
            num_rows=num_rows,
            extents=row([(width, height) for height, width in sizes]),
            widths=row([width + _BORDER for _, width in sizes]),
            starts=row([sum(areas[:level]) for level in range(len(areas))]),
            heads=heads.repeat_interleave(len(sizes) * num_points),
        )

    def corners(
        self, places: Float[Tensor, "b q n"], weights: Float[Tensor, "b q m"]
    ) -> tuple[Int[Tensor, "bags k"], Float[Tensor, "bags k"]]:
        """Return which rows of the table each query and head reads, and with which weights."""
        place = places * self.extents + (_BEFORE - 0.5)
        place = place.clamp(min=0).minimum(self.extents + _BEFORE)
        with torch.no_grad():
            first = place.floor()
            x, y = first.unflatten(2, (-1, 2)).unbind(dim=-1)
            pixel = torch.addcmul(x + self.starts, y, self.widths).int()
            pictures = torch.arange(places.shape[0], device=places.device, dtype=torch.int32)
            pixel = pixel + (pictures * self.num_rows)[:, None, None]
            rows = pixel * self.num_heads + self.heads
            below = rows + (self.widths * self.num_heads).int()
            corners = (rows, rows + self.num_heads, below, below + self.num_heads)
        x, y = (place - first).unflatten(2, (-1, 2)).unbind(dim=-1)
        lower = weights * y
        upper = weights - lower
        upper_right, lower_right = upper * x, lower * x
        shares = (upper - upper_right, upper_right, lower - lower_right, lower_right)
        return self._in_bags(corners), self._in_bags(shares)

    def _in_bags(self, parts: Sequence[Tensor]) -> Tensor:
        """Return what belongs to one query and head, one after the other."""
        split = [part.unflatten(2, (self.num_heads, -1)) for part in parts]
        return torch.stack(split, dim=3).flatten(3).flatten(0, 2)


class DeformableAttention(nn.Module):
    """The attention with its projections, without the residual.

    Args:
        width: of queries and values.
        num_heads: heads.
        num_levels: maps in the pyramid.
        num_points: points that a query reads of each.
    """

    def __init__(self, width: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        points = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(width, 2 * points)
        self.attention_weights = nn.Linear(width, points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Let the points of each head lie on a ray, at distances of one pixel and more."""
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        rays = torch.stack([angles.cos(), angles.sin()], dim=-1)
        rays = rays / rays.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1)[:, None]
        offsets = (rays[:, None, None] * steps).expand(-1, self.num_levels, -1, -1)
        self.sampling_offsets.bias.copy_(offsets.flatten())

    def forward(
        self,
        query: Float[Tensor, "b q c"],
        memory: Float[Tensor, "b s c"],
        hidden: Bool[Tensor, "b s"],
        references: Float[Tensor, "b q l r"],
        sizes: MapSizes,
    ) -> Float[Tensor, "b q c"]:
        """Attend around a point, or in a box, of each level.

        Args:
            query: with its positions.
            memory: the pixels of all levels.
            hidden: which of them are padding, and count as zero.
            references: x and y from 0 to 1, or the same with width and height.
            sizes: of the levels.
        """
        value = self.value_proj(memory).masked_fill(hidden[..., None], 0.0)
        value = rearrange(value, "b s (h d) -> b s h d", h=self.num_heads)
        axes = {"h": self.num_heads, "l": self.num_levels}
        offsets = rearrange(
            self.sampling_offsets(query), "b q (h l p x) -> b q h l p x", x=2, **axes
        )
        weights = rearrange(self.attention_weights(query), "b q (h n) -> b q h n", h=axes["h"])
        weights = rearrange(weights.softmax(dim=-1), "b q h (l p) -> b q h l p", l=axes["l"])
        places = references[:, :, None, :, None].float()
        if references.shape[-1] == 2:
            extent = places.new_tensor([(width, height) for height, width in sizes])[:, None]
            locations = places + offsets.float() / extent
        else:
            halves = places[..., 2:] * (0.5 / self.num_points)
            locations = places[..., :2] + offsets.float() * halves
        return self.output_proj(deformable_attention(value, sizes, locations, weights))
