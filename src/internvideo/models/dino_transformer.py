"""The transformer of DINO: pixels of a pyramid see one another, and queries read them.

Letters as in `dino`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.config import ByKind
from internvideo.models.deformable_attention import DeformableAttention, MapSizes
from internvideo.models.layers import checkpointable
from internvideo.models.swin import SwinConfig
from internvideo.models.uniformer_pyramid import UniFormerPyramidConfig
from internvideo.models.vit_pyramid import VideoViTPyramidConfig

__all__ = ["DINOConfig", "Pixels", "Transformer", "mlp", "waves"]

_SMALLEST = 0.05  # side of a proposal of the finest map
_NEAR_BORDER = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class DINOConfig:
    """Shape of the detector; the defaults are those of the released ones.

    Attributes:
        backbone: what makes the maps.
        num_classes: what it tells apart; each has a logit of its own.
        width: of the transformer.
        num_levels: maps; those beyond the backbone's four are made from its last.
        num_heads: attention heads.
        num_points: that a query reads of each map.
        encoder_depth: layers.
        decoder_depth: layers.
        mlp_hidden: width inside the feed-forward networks.
        num_queries: boxes that it answers.
        norm_groups: of the group norms in the neck.
        position_temperature: of the positions of pixels.
    """

    backbone: Annotated[UniFormerPyramidConfig | SwinConfig | VideoViTPyramidConfig, ByKind()] = (
        field(default_factory=UniFormerPyramidConfig)
    )
    num_classes: int = 1
    width: int = 256
    num_levels: int = 5
    num_heads: int = 8
    num_points: int = 4
    encoder_depth: int = 6
    decoder_depth: int = 6
    mlp_hidden: int = 2048
    num_queries: int = 900
    norm_groups: int = 32
    position_temperature: float = 20.0

    def __post_init__(self) -> None:
        if self.width % self.num_heads or self.width % 4:
            raise ValueError(
                f"width {self.width} must be a multiple of 4 and of num_heads {self.num_heads}"
            )
        if self.width % self.norm_groups:
            raise ValueError(f"width {self.width} is no multiple of norm_groups {self.norm_groups}")
        if self.num_levels < 4:
            raise ValueError(f"num_levels is {self.num_levels}; the backbone alone has 4")


def waves(x: Float[Tensor, "*n"], num: int, temperature: float) -> Float[Tensor, "*n {num}"]:
    """Return sines and cosines, in turn, of numbers at wavelengths that grow geometrically."""
    place = torch.arange(num, device=x.device, dtype=torch.float32)
    angles = x[..., None] / temperature ** (2 * (place // 2) / num)
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(-2)


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU()), nn.Linear(hidden, width)
        )

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        return x + self.layers(x)


class _SelfAttention(nn.Module):
    """A `MultiheadAttention` in a module of its own, as the files name it."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(
        self, x: Float[Tensor, "b n c"], positions: Tensor, blocked: Tensor | None
    ) -> Float[Tensor, "b n c"]:
        query = x + positions
        return x + self.attn(query, query, x, attn_mask=blocked, need_weights=False)[0]


def _deformable(config: DINOConfig) -> DeformableAttention:
    return DeformableAttention(config.width, config.num_heads, config.num_levels, config.num_points)


class _EncoderLayer(nn.Module):
    activation_checkpointing = False

    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([_deformable(config)])
        self.ffns = nn.ModuleList([_FeedForward(config.width, config.mlp_hidden)])
        self.norms = nn.ModuleList([nn.LayerNorm(config.width) for _ in range(2)])

    @checkpointable
    def forward(
        self, x: Tensor, positions: Tensor, hidden: Tensor, references: Tensor, sizes: MapSizes
    ) -> Tensor:
        x = self.norms[0](x + self.attentions[0](x + positions, x, hidden, references, sizes))
        return self.norms[1](self.ffns[0](x))


class _DecoderLayer(nn.Module):
    activation_checkpointing = False

    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        itself = _SelfAttention(config.width, config.num_heads)
        self.attentions = nn.ModuleList([itself, _deformable(config)])
        self.ffns = nn.ModuleList([_FeedForward(config.width, config.mlp_hidden)])
        self.norms = nn.ModuleList([nn.LayerNorm(config.width) for _ in range(3)])

    @checkpointable
    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        blocked: Tensor | None,
        memory: Tensor,
        hidden: Tensor,
        references: Tensor,
        sizes: MapSizes,
    ) -> Tensor:
        x = self.norms[0](self.attentions[0](x, positions, blocked))
        x = self.norms[1](x + self.attentions[1](x + positions, memory, hidden, references, sizes))
        return self.norms[2](self.ffns[0](x))


def mlp(channels: int, *widths: int) -> nn.Sequential:
    """Return linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(channels, width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers[:-1])


class _Encoder(nn.Module):
    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_EncoderLayer(config) for _ in range(config.encoder_depth)])


class _Decoder(nn.Module):
    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        width = config.width
        self.layers = nn.ModuleList([_DecoderLayer(config) for _ in range(config.decoder_depth)])
        self.ref_point_head = mlp(2 * width, width, width)
        self.norm = nn.LayerNorm(width)


@dataclass(frozen=True)
class Pixels:
    """All pixels of a pyramid, level after level.

    Attributes:
        features: of the maps.
        positions: where they are.
        hidden: which are padding.
        sizes: of the maps.
        ratios: width and height of the shown part of each map, as shares.
        centres: of the pixels, in shares of the shown part of their own map.
    """

    features: Float[Tensor, "b s c"]
    positions: Float[Tensor, "b s c"]
    hidden: Bool[Tensor, "b s"]
    sizes: MapSizes
    ratios: Float[Tensor, "b l 2"]
    centres: Float[Tensor, "b s 2"]


class Transformer(nn.Module):
    """Encoder and decoder, with what stands between them."""

    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.level_embeds = nn.Parameter(torch.zeros(config.num_levels, width))
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)
        self.enc_output = nn.Linear(width, width)
        self.enc_output_norm = nn.LayerNorm(width)
        self.query_embed = nn.Embedding(config.num_queries, width)

    def pixels(self, maps: Sequence[Tensor], shown: Bool[Tensor, "b y x"]) -> Pixels:
        """Lay out the maps of pictures that fill a part of their batch."""
        features, positions, hidden, ratios, centres = [], [], [], [], []
        sizes = tuple((int(x.shape[2]), int(x.shape[3])) for x in maps)
        padding = (~shown)[:, None].float()
        for x, level in zip(maps, self.level_embeds, strict=True):
            size = x.shape[2:]
            seen = F.interpolate(padding, size=size)[:, 0] == 0  # b y x
            rows, columns = seen[:, :, 0].sum(1), seen[:, 0].sum(1)
            extent = torch.stack([columns, rows], dim=-1).float()  # b 2, x first
            places = [torch.arange(length, device=x.device) + 0.5 for length in size]
            grid = torch.stack(torch.meshgrid(*places, indexing="ij")[::-1], dim=-1)
            centres.append(grid.flatten(0, 1) / extent[:, None])
            ratios.append(extent / extent.new_tensor([size[1], size[0]]))
            features.append(x.flatten(2).transpose(1, 2))
            positions.append((self._positions(seen) + level).flatten(1, 2))
            hidden.append(~seen.flatten(1))
        return Pixels(
            features=torch.cat(features, dim=1),
            positions=torch.cat(positions, dim=1).to(features[0].dtype),
            hidden=torch.cat(hidden, dim=1),
            sizes=sizes,
            ratios=torch.stack(ratios, dim=1),
            centres=torch.cat(centres, dim=1),
        )

    def _positions(self, seen: Bool[Tensor, "b y x"]) -> Float[Tensor, "b y x c"]:
        parts = []
        for axis in (1, 2):
            place = seen.cumsum(axis, dtype=torch.float32)
            last = place.narrow(axis, place.shape[axis] - 1, 1)
            scaled = place / (last + 1e-6) * (2 * math.pi)
            scales = waves(scaled, self.config.width // 2, self.config.position_temperature)
            parts.append(scales)
        return torch.cat(parts, dim=-1)

    def encode(self, pixels: Pixels) -> Float[Tensor, "b s c"]:
        """Let pixels of all maps see one another."""
        references = pixels.centres[:, :, None] * pixels.ratios[:, None]
        memory = pixels.features
        for layer in self.encoder.layers:
            memory = layer(memory, pixels.positions, pixels.hidden, references, pixels.sizes)
        return memory

    def proposals(
        self, pixels: Pixels, memory: Float[Tensor, "b s c"]
    ) -> tuple[Float[Tensor, "b s c"], Float[Tensor, "b s 4"]]:
        """Return a feature and a small box, before the sigmoid, for each pixel.

        Those of padding and of the border are infinite.
        """
        sides = [
            _SMALLEST * 2.0**level
            for level, (height, width) in enumerate(pixels.sizes)
            for _ in range(height * width)
        ]
        side = pixels.centres.new_tensor(sides)[None, :, None].expand_as(pixels.centres)
        boxes = torch.cat([pixels.centres, side], dim=-1)
        inside = ((boxes > _NEAR_BORDER) & (boxes < 1 - _NEAR_BORDER)).all(-1, keepdim=True)
        is_good = inside & ~pixels.hidden[..., None]
        boxes = torch.where(is_good, (boxes / (1 - boxes)).log(), math.inf)
        memory = memory.masked_fill(~is_good, 0.0)
        return self.enc_output_norm(self.enc_output(memory)), boxes
