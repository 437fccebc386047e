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

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

__all__ = ["DeformableAttention", "MapSizes", "deformable_attention"]

MapSizes = Sequence[tuple[int, int]]
"""Height and width of each level."""

_CHUNK = 1 << 18  # pixels that are weighed at once; their weights and places stay in the cache


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
    b, s, h, d = value.shape
    q, points = locations.shape[1], math.prod(locations.shape[3:5])
    table = value.float().reshape(b * s * h, d)
    # Gradients of the table are as large as it: in training it is read once, not chunk by chunk.
    is_trained = torch.is_grad_enabled() and (table.requires_grad or weights.requires_grad)
    step = q if is_trained else max(_CHUNK // (4 * points * h), 1)
    parts: list[Tensor] = []
    for start in range(0, q, step):
        rows, shares = _corners(
            locations[:, start : start + step], weights[:, start : start + step], sizes, s
        )
        part = F.embedding_bag(
            rows.flatten(0, 2), table, per_sample_weights=shares.flatten(0, 2), mode="sum"
        )
        parts.append(part.view(b, -1, h * d))
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).to(value.dtype)


def _corners(
    locations: Float[Tensor, "b q h l p 2"],
    weights: Float[Tensor, "b q h l p"],
    sizes: MapSizes,
    num_pixels: int,
) -> tuple[Int[Tensor, "b q h n"], Float[Tensor, "b q h n"]]:
    """Return which rows of the table each query and head reads, and with which weights."""
    b, _, h = locations.shape[:3]
    device = locations.device
    extent = torch.tensor([(w, h) for h, w in sizes], device=device, dtype=torch.int32)[:, None]
    areas = [height * width for height, width in sizes]
    starts = [sum(areas[:level]) for level in range(len(areas))]
    start = torch.tensor(starts, device=device, dtype=torch.int32)[:, None, None, None]
    place = locations.float() * extent - 0.5
    first = place.floor()
    share = place - first
    pixel = torch.stack([first, first + 1], dim=-1).int()  # b q h l p (x y) 2
    inside = (pixel >= 0) & (pixel < extent[..., None])
    share = torch.stack([1 - share, share], dim=-1) * inside
    pixel = pixel.clamp(min=0).minimum(extent[..., None] - 1)
    x, y = pixel.unbind(dim=-2)
    width = extent[:, :, 0, None, None]
    pixels = y[..., :, None] * width + x[..., None, :] + start  # b q h l p 2 2
    batch = torch.arange(b, device=device, dtype=torch.int32).view(b, 1, 1, 1) * num_pixels
    heads = torch.arange(h, device=device, dtype=torch.int32).view(h, 1)
    rows = (pixels.flatten(3) + batch) * h + heads
    shares_x, shares_y = share.unbind(dim=-2)
    shares = (shares_y * weights.float()[..., None])[..., :, None] * shares_x[..., None, :]
    return rows, shares.flatten(3)


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
