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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.models.positions import sinusoid_table
from internvideo.models.temporal_layers import (
    ConvBlock,
    Padding,
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionFormerConfig:
    """Shape of an `ActionFormer`.

    Attributes:
        input_dims: channels of the features; of several kinds, those of each.
        embed_dims: channels that each kind is projected to first; empty: it is not.
        num_classes: classes, each with a score of its own.
        width: channels of the backbone.
        num_heads: of its attention.
        windows: keys that a query sees, by level of the backbone; 1 or less sees all. One number
            holds for all levels.
        num_embed: convolutions before the first block.
        embed_kernel: their taps.
        embed_norm: whether they have norms.
        num_stem: blocks at full rate.
        num_branch: blocks that halve the rate, so there are one more levels.
        backbone: blocks of attention, or of convolutions alone.
        positions: add sine-cosine positions.
        relative: learn a bias by distance in local attention.
        max_length: rows of a training sequence; positions are made for it, and stretched for
            longer ones.
        neck: "identity", or "fpn", which adds coarser levels to finer ones.
        neck_norm: whether it has norms.
        first_level: the finest level that is detected on.
        head_width: channels of neck and heads.
        head_kernel: taps of the heads.
        head_depth: convolutions of a head.
        head_norm: whether they have norms.
        drop_rate: dropout in the blocks.
        drop_path_rate: stochastic depth; above 0 the blocks have learnt scales.
        padding: see `models.temporal_layers`.
        prior: score of every class at the start.
        absent_classes: classes whose score starts at almost zero.
    """

    input_dims: tuple[int, ...] = (2048,)
    embed_dims: tuple[int, ...] = ()
    num_classes: int = 20
    width: int = 512
    num_heads: int = 4
    windows: tuple[int, ...] = (19,)
    num_embed: int = 2
    embed_kernel: int = 3
    embed_norm: bool = True
    num_stem: int = 2
    num_branch: int = 5
    backbone: Literal["attention", "convolution"] = "attention"
    positions: bool = False
    relative: bool = False
    max_length: int = 2304
    neck: Literal["identity", "fpn"] = "identity"
    neck_norm: bool = True
    first_level: int = 0
    head_width: int = 512
    head_kernel: int = 3
    head_depth: int = 3
    head_norm: bool = True
    drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    padding: Padding = "exact"
    prior: float = 0.01
    absent_classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.embed_dims and len(self.embed_dims) != len(self.input_dims):
            raise ValueError(
                f"embed_dims {self.embed_dims} must be as many as input_dims {self.input_dims}"
            )
        if len(self.windows) not in (1, self.num_branch + 1):
            raise ValueError(
                f"windows {self.windows}: expected one number, or one for each of the "
                f"{self.num_branch + 1} levels"
            )
        if even := [w for w in self.windows if w > 1 and w % 2 == 0]:
            raise ValueError(f"windows {self.windows}: {even[0]} is even; a window has a centre")
        for name in ("embed_kernel", "head_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} {getattr(self, name)} must be odd")
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}")
        if self.neck == "identity" and self.head_width != self.width:
            raise ValueError(
                f"head_width {self.head_width} is not width {self.width}; only neck='fpn' has "
                "projections between them"
            )
        if not 0 <= self.first_level <= self.num_branch:
            raise ValueError(f"first_level {self.first_level} is not one of 0 … {self.num_branch}")

    @property
    def strides(self) -> tuple[int, ...]:
        """Rows of features from one position to the next, by level that is detected on."""
        return tuple(2**level for level in range(self.first_level, self.num_branch + 1))

    def window(self, level: int) -> int:
        """Return the attention window of a level of the backbone."""
        return self.windows[0] if len(self.windows) == 1 else self.windows[level]

    def lengths(self, num_rows: int) -> list[int]:
        """Return the number of positions of each level for so many rows."""
        return [-(-num_rows // stride) for stride in self.strides]


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
            x = x + mask.cut(self._positions(x, mask))
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
        return self.cls_head(self.tower(x, mask), mask)


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
        return F.relu(self.offset_head(self.tower(x, mask), mask) * scales)


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
        levels, masks = self.backbone(mask.cut(features), mask)
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


def _size(
    input_dims: int | Sequence[int], num_classes: int, width: int, heads: int, **fields: Any
) -> ActionFormerConfig:
    """Return a published configuration; all of them were trained with reference padding."""
    dims = (input_dims,) if isinstance(input_dims, int) else tuple(input_dims)
    return ActionFormerConfig(
        input_dims=dims,
        num_classes=num_classes,
        width=width,
        head_width=width,
        num_heads=heads,
        padding="reference",
        **fields,
    )


def _proposals(input_dim: int, max_length: int, window: int) -> ActionFormerConfig:
    """Return a detector of actions of one class, on coarse features."""
    windows = (*(window,) * 5, -1)
    return _size(input_dim, 1, 256, 4, windows=windows, max_length=max_length, positions=True)


def _moments(
    input_dims: int | Sequence[int], width: int, heads: int, branch: int = 7, **fields: Any
) -> ActionFormerConfig:
    """Return a detector of the 110 classes of Ego4D Moment Queries."""
    shape = {"windows": (9,), "max_length": 1024, "num_branch": branch, "positions": True}
    return _size(input_dims, 110, width, heads, drop_rate=0.1, **shape, **fields)


SIZES: dict[str, ActionFormerConfig] = {
    "thumos-videomae-h": _size(1280, 20, 512, 4),
    "thumos-videomaev2-g": _size(1408, 20, 512, 4),
    "thumos-i3d": _size(2048, 20, 512, 4),
    "anet-videomae-h": _proposals(1280, 768, 25),
    "anet-tsp": _proposals(512, 192, 7),
    "anet-i3d": _proposals(2048, 192, 7),
    "hacs-videomae-h": _proposals(1280, 2304, 25),
    "hacs-2560": _proposals(2560, 2304, 25),
    "fineaction-videomae-h": _proposals(1280, 192, 7),
    "fineaction-videomaev2-g": _proposals(1408, 192, 7),
    "epic": _size(2304, 97, 512, 4, windows=(9,)),  # verbs; nouns have 300 classes
    "ego4d-egovlp": _moments(256, 384, 4),
    "ego4d-omnivore": _moments(1536, 512, 4),
    "ego4d-slowfast": _moments(2304, 512, 4, branch=6),
    "ego4d-slowfast-egovlp": _moments(2560, 768, 12),
    "ego4d-omnivore-egovlp": _moments(1792, 768, 12),
    "ego4d-slowfast-omnivore-egovlp": _moments(
        (2304, 1536, 256), 1024, 16, embed_dims=(256, 384, 384)
    ),
}
"""The configurations of InternVideo (on features of VideoMAE) and of ActionFormer's own release."""
