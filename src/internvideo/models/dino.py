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
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.models.deformable_attention import DeformableAttention
from internvideo.models.dino_transformer import DINOConfig, Pixels, Transformer, mlp, waves
from internvideo.models.swin import Swin, SwinConfig
from internvideo.models.uniformer_pyramid import UniFormerPyramid
from internvideo.models.vit_pyramid import VideoViTPyramid, VideoViTPyramidConfig

__all__ = [
    "DINO",
    "SIZES",
    "DINOConfig",
    "FoundBoxes",
    "NoisyQueries",
    "from_sides",
    "inverse_sigmoid",
    "to_sides",
]

_INVERSE_EPS = 1e-3
_PRIOR = 0.01  # probability of a class before training
_EXAMPLE_SIDE = 64
_QUERY_TEMPERATURE = 10000.0


SIZES = {
    "uniformer-l": DINOConfig(),
    "swin-l": DINOConfig(backbone=SwinConfig()),
}


def to_sides(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Return left, top, right and bottom side of boxes given by centre, width and height."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def from_sides(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Return what `to_sides` takes."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


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


class _Head(nn.Module):
    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        width, stages = config.width, config.decoder_depth + 1  # the last is that of the encoder
        self.transformer = Transformer(config)
        self.cls_branches = nn.ModuleList(
            [nn.Linear(width, config.num_classes) for _ in range(stages)]
        )
        self.reg_branches = nn.ModuleList([mlp(width, width, width, 4) for _ in range(stages)])
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
        pixels: Pixels,
        memory: Tensor,
    ) -> tuple[Float[Tensor, "l b q k"], Float[Tensor, "l b q 4"]]:
        decoder, width = self.transformer.decoder, self.transformer.config.width
        ratios = torch.cat([pixels.ratios, pixels.ratios], dim=-1)[:, None]
        logits, boxes, looked = [], [], reference
        for number, layer in enumerate(decoder.layers):
            references = reference[:, :, None] * ratios
            order = references[:, :, 0, [1, 0, 2, 3]] * (2 * math.pi)  # y comes first
            places = waves(order, width // 2, _QUERY_TEMPERATURE).flatten(2)
            positions = decoder.ref_point_head(places.to(query.dtype))
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
        match config.backbone:
            case SwinConfig() as backbone:
                self.backbone = Swin(backbone)
            case VideoViTPyramidConfig() as backbone:
                self.backbone = VideoViTPyramid(backbone)
            case backbone:
                self.backbone = UniFormerPyramid(backbone)
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
        """Make the tables of a backbone that are no part of the state."""
        self.backbone.reset_buffers()

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
