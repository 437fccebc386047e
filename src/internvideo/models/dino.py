"""DINO: a detector whose queries start from the likeliest places of a pyramid and are refined.

    images ─► backbone ─► neck ─► 5 maps ─► encoder ─► score and box of every pixel
                                                │            │ the best become references
                                                └─► decoder ◄┴─ learnt queries (+ noisy true boxes)
                                                       └─► scores and boxes after every layer

Names are those of the released detectors. Boxes are centre x, centre y, width and height as
fractions of the picture without its padding, unless something else is said.

Letters: b batch, (y, x) pixels, s pixels of all maps, c width, q queries, p noisy queries in front
of them, l layers of the decoder, k classes.

Source: Zhang et al. (2022), arXiv 2203.03605; fixtures `ego4d-scod-dino`, `ego4d-scod-dn`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.config import ByKind
from internvideo.models.deformable_attention import DeformableAttention, MapSizes
from internvideo.models.layers import checkpointable
from internvideo.models.swin import Swin, SwinConfig
from internvideo.models.uniformer_pyramid import UniFormerPyramid, UniFormerPyramidConfig

__all__ = [
    "DINO",
    "SIZES",
    "DINOConfig",
    "FoundBoxes",
    "NoisyQueries",
    "inverse_sigmoid",
]

_INVERSE_EPS = 1e-3
_PRIOR = 0.01  # probability of a class before training
_SMALLEST, _EXAMPLE_SIDE = 0.05, 64
_NEAR_BORDER = 0.01
_QUERY_TEMPERATURE = 10000.0


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

    backbone: Annotated[UniFormerPyramidConfig | SwinConfig, ByKind()] = field(
        default_factory=UniFormerPyramidConfig
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


SIZES = {
    "uniformer-l": DINOConfig(),
    "swin-l": DINOConfig(backbone=SwinConfig()),
}


@dataclass(frozen=True)
class NoisyQueries:
    """Queries that start from noisy true boxes, in front of the learnt ones (training only).

    Attributes:
        labels: their content.
        boxes: where they start, before the sigmoid.
        blocked: which query (row) may not see which (column), of these and the learnt ones.
    """

    labels: Float[Tensor, "b p c"]
    boxes: Float[Tensor, "b p 4"]
    blocked: Bool[Tensor, "n n"]


@dataclass(frozen=True)
class FoundBoxes:
    """What the detector says of a batch of pictures.

    Attributes:
        logits: of the classes, after each layer of the decoder; noisy queries come first.
        boxes: likewise.
        start_logits: of the pixels that the queries start from.
        start_boxes: likewise.
    """

    logits: Float[Tensor, "l b q k"]
    boxes: Float[Tensor, "l b q 4"]
    start_logits: Float[Tensor, "b n k"]
    start_boxes: Float[Tensor, "b n 4"]


def inverse_sigmoid(x: Tensor, eps: float = _INVERSE_EPS) -> Tensor:
    """Return the logit of a number from 0 to 1, at most that of `1 - eps` or so."""
    x = x.clamp(0, 1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


def _waves(x: Float[Tensor, "*n"], num: int, temperature: float) -> Float[Tensor, "*n {num}"]:
    """Return sines and cosines, in turn, of numbers at wavelengths that grow geometrically."""
    place = torch.arange(num, device=x.device, dtype=torch.float32)
    angles = x[..., None] / temperature ** (2 * (place // 2) / num)
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(-2)


class _ConvNorm(nn.Module):
    def __init__(self, channels: int, width: int, groups: int, *, size: int = 1) -> None:
        super().__init__()
        stride = 1 if size == 1 else 2
        self.conv = nn.Conv2d(channels, width, size, stride, padding=size // 2, bias=False)
        self.gn = nn.GroupNorm(groups, width)

    def forward(self, x: Float[Tensor, "b d y x"]) -> Float[Tensor, "b c r s"]:
        return self.gn(self.conv(x))


class _Neck(nn.Module):
    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        widths, groups = config.backbone.widths, config.norm_groups
        self.convs = nn.ModuleList([_ConvNorm(each, config.width, groups) for each in widths])
        extra = config.num_levels - len(widths)
        sources = [widths[-1], *([config.width] * (extra - 1))][:extra]
        self.extra_convs = nn.ModuleList(
            [_ConvNorm(each, config.width, groups, size=3) for each in sources]
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        found = [conv(x) for conv, x in zip(self.convs, maps, strict=True)]
        for place, conv in enumerate(self.extra_convs):
            found.append(conv(found[-1] if place else maps[-1]))
        return tuple(found)


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


def _mlp(channels: int, *widths: int) -> nn.Sequential:
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
        self.ref_point_head = _mlp(2 * width, width, width)
        self.norm = nn.LayerNorm(width)


@dataclass(frozen=True)
class _Pixels:
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


class _Transformer(nn.Module):
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

    def pixels(self, maps: Sequence[Tensor], shown: Bool[Tensor, "b y x"]) -> _Pixels:
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
        return _Pixels(
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
            waves = _waves(scaled, self.config.width // 2, self.config.position_temperature)
            parts.append(waves)
        return torch.cat(parts, dim=-1)

    def encode(self, pixels: _Pixels) -> Float[Tensor, "b s c"]:
        """Let pixels of all maps see one another."""
        references = pixels.centres[:, :, None] * pixels.ratios[:, None]
        memory = pixels.features
        for layer in self.encoder.layers:
            memory = layer(memory, pixels.positions, pixels.hidden, references, pixels.sizes)
        return memory

    def proposals(
        self, pixels: _Pixels, memory: Float[Tensor, "b s c"]
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


class _Head(nn.Module):
    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        width, stages = config.width, config.decoder_depth + 1  # the last is that of the encoder
        self.transformer = _Transformer(config)
        self.cls_branches = nn.ModuleList(
            [nn.Linear(width, config.num_classes) for _ in range(stages)]
        )
        self.reg_branches = nn.ModuleList([_mlp(width, width, width, 4) for _ in range(stages)])
        self.label_embedding = nn.Embedding(config.num_classes, width)

    def forward(
        self, maps: Sequence[Tensor], shown: Bool[Tensor, "b y x"], noisy: NoisyQueries | None
    ) -> FoundBoxes:
        pixels = self.transformer.pixels(maps, shown)
        memory = self.transformer.encode(pixels)
        features, boxes = self.transformer.proposals(pixels, memory)
        logits = self.cls_branches[-1](features)
        boxes = self.reg_branches[-1](features).float() + boxes
        num_queries, num_pixels = self.transformer.config.num_queries, boxes.shape[1]
        if num_pixels < num_queries:
            raise ValueError(
                f"the maps have {num_pixels} pixels, fewer than the {num_queries} queries of the "
                "detector; enlarge the pictures, or pad them"
            )
        best = logits.amax(-1).topk(num_queries, dim=1).indices[..., None]
        start_logits = logits.gather(1, best.expand(-1, -1, logits.shape[-1]))
        starts = boxes.gather(1, best.expand(-1, -1, 4))
        query = self.transformer.query_embed.weight.expand(memory.shape[0], -1, -1)
        references, blocked = starts.detach(), None
        if noisy is not None:
            query = torch.cat([noisy.labels.to(query.dtype), query], dim=1)
            references = torch.cat([noisy.boxes, references], dim=1)
            blocked = noisy.blocked
        found = self._decode(query, references.sigmoid(), blocked, pixels, memory)
        return FoundBoxes(*found, start_logits=start_logits, start_boxes=starts.sigmoid())

    def _decode(
        self,
        query: Tensor,
        reference: Float[Tensor, "b q 4"],
        blocked: Tensor | None,
        pixels: _Pixels,
        memory: Tensor,
    ) -> tuple[Float[Tensor, "l b q k"], Float[Tensor, "l b q 4"]]:
        decoder, width = self.transformer.decoder, self.transformer.config.width
        ratios = torch.cat([pixels.ratios, pixels.ratios], dim=-1)[:, None]
        logits, boxes, looked = [], [], reference
        for number, layer in enumerate(decoder.layers):
            references = reference[:, :, None] * ratios
            order = references[:, :, 0, [1, 0, 2, 3]] * (2 * math.pi)  # y comes first
            waves = _waves(order, width // 2, _QUERY_TEMPERATURE).flatten(2)
            positions = decoder.ref_point_head(waves.to(query.dtype))
            query = layer(
                query, positions, blocked, memory, pixels.hidden, references, pixels.sizes
            )
            normed, refine = decoder.norm(query), self.reg_branches[number]
            logits.append(self.cls_branches[number](normed))
            boxes.append((refine(normed).float() + inverse_sigmoid(looked)).sigmoid())
            # The next layer looks forward twice: its box keeps the gradient of this refinement.
            looked = (refine(query).float() + inverse_sigmoid(reference)).sigmoid()
            reference = looked.detach()
        return torch.stack(logits), torch.stack(boxes)


class DINO(nn.Module):
    """Finds objects in pictures.

    Example:
        >>> backbone = UniFormerPyramidConfig(widths=(16,) * 4, depths=(1,) * 4, head_dim=16)
        >>> config = DINOConfig(backbone=backbone, width=32, num_queries=5, norm_groups=8,
        ...                     encoder_depth=1, decoder_depth=1, mlp_hidden=32)
        >>> model = DINO(config).eval()
        >>> model(*model.example_inputs(1)).boxes.shape
        torch.Size([1, 1, 5, 4])
    """

    capabilities = frozenset({"objects"})
    undecayed_names: tuple[str, ...] = ()

    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        self.config = config
        backbone = config.backbone
        self.backbone = Swin(backbone) if isinstance(backbone, SwinConfig) else (
            UniFormerPyramid(backbone)
        )  # fmt: skip
        self.neck = _Neck(config)
        self.bbox_head = _Head(config)
        self._reset_head()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.backbone.reset_parameters()
        self._reset_head()

    @torch.no_grad()
    def _reset_head(self) -> None:
        for part in (self.neck, self.bbox_head):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.xavier_uniform_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
                elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
                    module.reset_parameters()
                elif isinstance(module, nn.Embedding):
                    nn.init.normal_(module.weight)
                elif isinstance(module, nn.MultiheadAttention):
                    module._reset_parameters()
        for module in self.bbox_head.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()
        head: Any = self.bbox_head
        nn.init.normal_(head.transformer.level_embeds)
        for scores, boxes in zip(head.cls_branches, head.reg_branches, strict=True):
            nn.init.constant_(scores.bias, math.log(_PRIOR / (1 - _PRIOR)))
            nn.init.zeros_(boxes[-1].weight)

    def reset_buffers(self) -> None:
        """The tables are part of the state."""

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of the backbone, the encoder and the decoder."""
        yield from self.backbone.block_modules()
        yield from self.bbox_head.transformer.encoder.layers
        yield from self.bbox_head.transformer.decoder.layers

    def pyramid(self, images: Float[Tensor, "b 3 y x"]) -> tuple[Tensor, ...]:
        """Return the maps of pictures, the finest first."""
        return self.neck(self.backbone(images))

    def detect(
        self,
        maps: Sequence[Float[Tensor, "b c _ _"]],
        shown: Bool[Tensor, "b y x"],
        noisy: NoisyQueries | None = None,
    ) -> FoundBoxes:
        """Return what is found in maps; the arguments are those of `forward`."""
        return self.bbox_head(maps, shown, noisy)

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        shown: Bool[Tensor, "b y x"],
        noisy: NoisyQueries | None = None,
    ) -> FoundBoxes:
        """Find objects in pictures.

        Args:
            images: normalised; smaller ones are at the top left, padded with zeros.
            shown: which pixels are picture, not padding: a rectangle at the top left of each.
            noisy: further queries, in training.
        """
        return self.detect(self.pyramid(images), shown, noisy)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random pictures, of which all but the first are padded."""
        device = next(self.parameters()).device
        side = _EXAMPLE_SIDE if self.config.num_queries < 256 else 2 * _EXAMPLE_SIDE
        shape = (batch, side, side + 32)
        shown = torch.ones(shape, dtype=torch.bool, device=device)
        shown[1:, :, -24:] = False
        images = torch.randn(shape[0], 3, *shape[1:], device=device)
        return images * shown[:, None], shown
