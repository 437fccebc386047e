"""ActionFormer: finds actions in untrimmed video, one stage, without anchors.

    features (b, t, c) ─► convolutions ─► blocks ─┬─► stride 1  ─┐
                                         block ÷2 ├─► stride 2   ├─► neck ─► class head: logits
                                         block ÷2 └─► stride 4 … ┘       └─► boundary head: offsets

Every position of every level is a candidate: a score a class, and the distances to the start and
the end of the action around it, in units of the stride of its level. Zhang et al. (2022),
arXiv 2202.07925; InternVideo put it on features of VideoMAE.

The features may have any length. How padding is treated: `models.temporal_layers`.

Shapes: b batch, t rows of features, c their channels, d width, s positions of a level, k classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.models.actionformer_config import SIZES, ActionFormerConfig
from internvideo.models.positions import sinusoid_table
from internvideo.models.temporal_layers import (
    ConvBlock,
    ScaledDropPath,
    TemporalAttention,
    TemporalBlock,
    TemporalConv,
    TimeMask,
    expanded,
    joined,
    parted,
)

__all__ = ["SIZES", "ActionFormer", "ActionFormerConfig", "Candidates"]

_RARE = 1e-6  # start of the score of a class that the training data do not have


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the heads say of every position, by level from fine to coarse.

    Attributes:
        logits: a score a class, before the sigmoid.
        offsets: distances to start and end of an action, in strides of the level; not negative.
        valid: positions that are no padding; None: all.
    """

    logits: tuple[Float[Tensor, "b _ k"], ...]
    offsets: tuple[Float[Tensor, "b _ 2"], ...]
    valid: tuple[Bool[Tensor, "b _"], ...] | None = None


class _Backbone(nn.Module):
    """From features to the levels of the pyramid."""

    table: Float[Tensor, "n d"] | None

    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__()
        self.config = config
        width, norm = config.width, config.embed_norm
        pairs = zip(config.input_dims, config.embed_dims, strict=False)
        self.proj = nn.ModuleList(TemporalConv(i, o, 1) for i, o in pairs)
        inputs = sum(config.embed_dims or config.input_dims)
        self.embd = nn.ModuleList(
            TemporalConv(width if n else inputs, width, config.embed_kernel, bias=not norm)
            for n in range(config.num_embed)
        )
        self.embd_norm = _norms(width, config.num_embed, norm)
        self.stem = nn.ModuleList(_block(config, level=0, stride=1) for _ in range(config.num_stem))
        self.branch = nn.ModuleList(
            _block(config, level=level, stride=2) for level in range(1, config.num_branch + 1)
        )
        start = torch.empty(0) if config.positions else None
        self.register_buffer("table", start, persistent=False)
        self.reset_buffers()

    def reset_buffers(self) -> None:
        """Make the table of positions."""
        if self.table is not None:
            device = None if self.table.is_meta else self.table.device
            table = sinusoid_table(self.config.max_length, self.config.width, device=device)
            self.table = table[0] / math.sqrt(self.config.width)

    def forward(
        self, x: Float[Tensor, "b t c"], mask: TimeMask
    ) -> tuple[list[Float[Tensor, "b _ d"]], list[TimeMask]]:
        if self.proj:
            parts = x.split(list(self.config.input_dims), dim=-1)
            x = torch.cat([p(part, mask) for p, part in zip(self.proj, parts, strict=True)], dim=-1)
        for conv, norm in zip(self.embd, self.embd_norm, strict=True):
            x = F.relu(norm(conv(x, mask)))
        if self.config.positions:
            x = x + mask.written(self._positions(x, mask))
        for block in self.stem:
            x = block(x, mask)
        levels, masks = [x], [mask]
        for block in self.branch:
            x, mask = block(x, mask), mask.every(2)
            levels.append(x)
            masks.append(mask)
        return levels, masks

    def _positions(self, x: Float[Tensor, "b t d"], mask: TimeMask) -> Float[Tensor, "#b t d"]:
        """Return rows of the table; a sequence longer than the table stretches it to its length.

        COMPAT: with reference padding the length is that of the padded batch.
        """
        assert self.table is not None
        length, size = x.shape[1], len(self.table)
        place = torch.arange(length, device=x.device, dtype=torch.float32)[None]
        own = torch.full((1, 1), float(length), device=x.device)
        if mask.readable is not None:
            own = mask.readable.sum(dim=1, keepdim=True).float()
        stretched = ((place + 0.5) * size / own - 0.5).clamp(0, size - 1)
        place = torch.where(own > size, stretched, place.clamp(max=size - 1))
        below = place.long()
        above = (below + 1).clamp(max=size - 1)
        share = (place - below)[..., None].to(self.table.dtype)
        return torch.lerp(self.table[below], self.table[above], share)


class _Neck(nn.Module):
    """Norms of the levels; "fpn" brings what coarse levels know to the fine ones before."""

    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__()
        self.config = config
        count, width, norm = len(config.strides), config.head_width, config.neck_norm
        fpn = count if config.neck == "fpn" else 0
        self.lateral_convs = nn.ModuleList(
            TemporalConv(config.width, width, 1, bias=not norm) for _ in range(fpn)
        )
        self.fpn_convs = nn.ModuleList(
            TemporalConv(width, width, 3, depthwise=True, bias=not norm) for _ in range(fpn)
        )
        self.fpn_norms = _norms(width, count, norm)

    def forward(
        self, levels: list[Float[Tensor, "b _ d"]], masks: list[TimeMask]
    ) -> list[Float[Tensor, "b _ d"]]:
        if self.lateral_convs:
            convs = zip(self.lateral_convs, levels, masks, strict=True)
            levels = [conv(x, mask) for conv, x, mask in convs]
            for level in range(len(levels) - 1, 0, -1):
                fine = levels[level - 1]
                coarse = levels[level].repeat_interleave(2, dim=1)[:, : fine.shape[1]]
                levels[level - 1] = fine + coarse
            convs = zip(self.fpn_convs, levels, masks, strict=True)
            levels = [conv(x, mask) for conv, x, mask in convs]
        return [norm(x) for norm, x in zip(self.fpn_norms, levels, strict=True)]


class _Tower(nn.Module):
    """The convolutions of a head before its last one."""

    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__()
        width, depth = config.head_width, config.head_depth - 1
        self.head = nn.ModuleList(
            TemporalConv(width, width, config.head_kernel, bias=not config.head_norm)
            for _ in range(depth)
        )
        self.norm = _norms(width, depth, config.head_norm)

    def tower(self, x: Float[Tensor, "b t d"], mask: TimeMask) -> Float[Tensor, "b t d"]:
        for conv, norm in zip(self.head, self.norm, strict=True):
            x = F.relu(norm(conv(x, mask)))
        return x


class _ClassHead(_Tower):
    """Logits of the classes, shared by all levels."""

    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__(config)
        self.cls_head = TemporalConv(config.head_width, config.num_classes, config.head_kernel)

    def forward(self, x: Float[Tensor, "b t d"], mask: TimeMask) -> Float[Tensor, "b t k"]:
        return mask.cut(self.cls_head(self.tower(x, mask), mask))


class _Scale(nn.Module):
    """A learnt factor of the offsets of a level."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)


class _BoundaryHead(_Tower):
    """Distances to start and end, shared by all levels up to a factor."""

    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__(config)
        self.offset_head = TemporalConv(config.head_width, 2, config.head_kernel)
        self.scale = nn.ModuleList(_Scale() for _ in config.strides)

    def forward(
        self, x: Float[Tensor, "b t d"], mask: TimeMask, lengths: list[int], gap: int
    ) -> Float[Tensor, "b t 2"]:
        scales = expanded([each.scale for each in self.scale], lengths, gap)  # type: ignore[misc]
        return mask.cut(F.relu(self.offset_head(self.tower(x, mask), mask) * scales))


class ActionFormer(nn.Module):
    """Temporal action detector; call it with features to get `Candidates`.

    Example:
        >>> model = ActionFormer(ActionFormerConfig(input_dims=(64,), width=32, head_width=32))
        >>> [tuple(x.shape) for x in model.eval()(torch.randn(1, 100, 64)).logits][:3]
        [(1, 100, 20), (1, 50, 20), (1, 25, 20)]
    """

    capabilities = frozenset({"moments"})
    undecayed_names = frozenset({"scale", "rel_pe"})

    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _Backbone(config)
        self.neck = _Neck(config)
        self.cls_head = _ClassHead(config)
        self.reg_head = _BoundaryHead(config)
        self._start_biases()

    def reset_parameters(self) -> None:
        """Draw all weights anew: convolutions as PyTorch does, biases zero."""
        for module in self.modules():
            if isinstance(
                module,
                nn.Conv1d | nn.Linear | nn.LayerNorm | ScaledDropPath | TemporalAttention | _Scale,
            ):
                module.reset_parameters()
        self._start_biases()
        self.reset_buffers()

    def _start_biases(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        bias = self.cls_head.cls_head.conv.bias
        assert bias is not None
        nn.init.constant_(bias, _logit(self.config.prior))
        with torch.no_grad():
            bias[list(self.config.absent_classes)] = _logit(_RARE)

    def reset_buffers(self) -> None:
        """Make the table of positions, which is no part of the state."""
        self.backbone.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks: the units to checkpoint, compile or shard."""
        yield from self.backbone.stem
        yield from self.backbone.branch

    def example_inputs(self, batch: int = 2) -> tuple[Any, ...]:
        """Return random features of a third of the training length, all but the first padded."""
        length = self.config.max_length // 3
        shorter = torch.arange(batch) * length // (2 * batch)
        valid = torch.arange(length) < length - shorter[:, None]
        return torch.randn(batch, length, sum(self.config.input_dims)), valid

    def pyramid(
        self, features: Float[Tensor, "b t c"], valid: Bool[Tensor, "b t"] | None = None
    ) -> tuple[list[Float[Tensor, "b _ d"]], list[TimeMask]]:
        """Return what the heads see, by level, and the masks of the levels."""
        mask = TimeMask.of(valid, self.config.padding)
        levels, masks = self.backbone(mask.written(features), mask)
        first = self.config.first_level
        return self.neck(levels[first:], masks[first:]), masks[first:]

    def forward(
        self, features: Float[Tensor, "b t c"], valid: Bool[Tensor, "b t"] | None = None
    ) -> Candidates:
        """Return scores and boundaries of every position.

        Args:
            features: of all windows of each video, in order.
            valid: rows that are no padding; None: all.
        """
        levels, masks = self.pyramid(features, valid)
        gap = self.config.head_kernel // 2
        lengths = [level.shape[1] for level in levels]
        x, mask = joined(levels, masks, gap)
        return Candidates(
            logits=parted(self.cls_head(x, mask), lengths, gap),
            offsets=parted(self.reg_head(x, mask, lengths, gap), lengths, gap),
            valid=None if valid is None else tuple(m.valid for m in masks if m.valid is not None),
        )


def _block(config: ActionFormerConfig, *, level: int, stride: int) -> nn.Module:
    if config.backbone == "convolution":
        return ConvBlock(config.width, stride=stride)
    return TemporalBlock(
        config.width,
        config.num_heads,
        window=config.window(level),
        stride=stride,
        relative=config.relative,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
    )


def _norms(width: int, count: int, present: bool) -> nn.ModuleList:
    return nn.ModuleList(nn.LayerNorm(width) if present else nn.Identity() for _ in range(count))


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
