"""The layers of temporal detectors: convolutions and local attention over time, channels last.

Where a batch holds sequences of several lengths, positions behind the end of the shorter ones are
padding. `TimeMask` says which, and what of them a convolution may read. With `exact` padding it
reads zeros there, as it does behind the end of a tensor, so a padded sequence has the outputs of
the same sequence alone.

COMPAT: ActionFormer as released masks what a convolution writes, not what it reads: the biases of
the norms between them leak from the padding into the last positions, and pooling sees zeros. Its
weights were trained so; "reference" padding keeps it. Pinned by the golden family `actionformer`.

Shapes: b batch, t time, c and d channels, h heads, e channels of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.models.layers import DropPath, attention, checkpointable

__all__ = [
    "ConvBlock",
    "Padding",
    "ScaledDropPath",
    "TemporalBlock",
    "TemporalConv",
    "TimeMask",
    "banded_attention",
]

Padding: TypeAlias = Literal["exact", "reference"]

_START_SCALE = 1e-4
_BLOCK = 32  # queries that share their keys in local attention


@dataclass(frozen=True, slots=True)
class TimeMask:
    """Which positions of a batch of sequences are no padding; None stands for all.

    Attributes:
        valid: positions of the sequences themselves.
        readable: positions whose values a convolution may read; all others are zero to it. With
            exact padding they are `valid`, so what lies in the padding need not be looked after.
    """

    valid: Bool[Tensor, "b t"] | None = None
    readable: Bool[Tensor, "b t"] | None = None

    @classmethod
    def of(cls, valid: Bool[Tensor, "b t"] | None, padding: Padding) -> TimeMask:
        """Return the mask of a batch."""
        return cls(valid, valid if padding == "exact" else None)

    def every(self, stride: int) -> TimeMask:
        """Return the mask of what a strided layer makes of the sequences."""
        if stride == 1 or self.valid is None:
            return self
        valid, readable = self.valid[:, ::stride], self.readable
        if readable is not None:
            readable = valid if readable is self.valid else readable[:, ::stride]
        return TimeMask(valid, readable)

    def read(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        """Return what a convolution sees."""
        return x if self.readable is None else x * self.readable[..., None]

    def written(self, x: Float[Tensor, "#b t c"]) -> Float[Tensor, "#b t c"]:
        """Return what a layer leaves: zero in the padding, unless nobody reads that."""
        return x if self.readable is self.valid else self.cut(x)

    def cut(self, x: Float[Tensor, "#b t c"]) -> Float[Tensor, "#b t c"]:
        """Set the padding to zero."""
        return x if self.valid is None else x.masked_fill(~self.valid[..., None], 0)

    def max_pool(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b s c"]:
        """Return the maximum of three positions about every other one, zero in the padding."""
        if self.readable is not None:
            x = x.masked_fill(~self.readable[..., None], -math.inf)
        pooled = F.max_pool2d(_as_image(x), (1, 3), stride=(1, 2), padding=(0, 1))
        return self.every(2).cut(_as_sequence(pooled))


class TemporalConv(nn.Module):
    """Convolution over time of a channels-last sequence.

    The weight is that of the `nn.Conv1d` inside the official modules. What computes is a matrix
    product with all taps at once, whose parts are shifted and added: faster than the convolution,
    also because nothing is transposed.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        kernel: odd number of taps.
        stride: distance of the outputs.
        depthwise: every channel has a kernel of its own.
        bias: add one.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        groups = channels_in if depthwise else 1
        self.stride = stride
        self.depthwise = depthwise
        self.conv = nn.Conv1d(
            channels_in, channels_out, kernel, padding=kernel // 2, groups=groups, bias=bias
        )

    def forward(self, x: Float[Tensor, "b t c"], mask: TimeMask) -> Float[Tensor, "b s d"]:
        """Convolve; s is t divided by the stride, rounded up."""
        x = mask.read(x)
        out = self._depthwise(x) if self.depthwise else self._dense(x)
        return mask.every(self.stride).written(out)

    def _depthwise(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b s c"]:
        # As an image one pixel high, channels last: the layout in which kernels are fast.
        weight, bias = self.conv.weight[:, :, None], self.conv.bias
        padding = (0, weight.shape[-1] // 2)
        image = F.conv2d(_as_image(x), weight, bias, (1, self.stride), padding, groups=x.shape[-1])
        return _as_sequence(image)

    def _dense(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b s d"]:
        weight, bias = self.conv.weight, self.conv.bias
        kernel, half = weight.shape[-1], weight.shape[-1] // 2
        if kernel == 1:
            return F.linear(x[:, :: self.stride], weight[..., 0], bias)
        taps = F.linear(x, rearrange(weight, "d c k -> (k d) c")).chunk(kernel, dim=-1)
        total = taps[half] if bias is None else taps[half] + bias.to(taps[half].dtype)
        for distance in range(1, min(half, x.shape[1] - 1) + 1):
            before = taps[half - distance][:, :-distance]
            after = taps[half + distance][:, distance:]
            total = total + F.pad(before, (0, 0, distance, 0)) + F.pad(after, (0, 0, 0, distance))
        return total[:, :: self.stride]


def _as_image(x: Float[Tensor, "b t c"]) -> Float[Tensor, "b c 1 t"]:
    return x.transpose(1, 2)[:, :, None]


def _as_sequence(image: Float[Tensor, "b c 1 t"]) -> Float[Tensor, "b t c"]:
    return image[:, :, 0].transpose(1, 2)


class ScaledDropPath(DropPath):
    """A learnt scale a channel, close to zero at the start, and stochastic depth of sequences."""

    def __init__(self, width: int, rate: float) -> None:
        super().__init__(rate)
        self.scale = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to its start."""
        nn.init.constant_(self.scale, _START_SCALE)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Scale, and in training drop the branch of some sequences."""
        return super().forward(x * self.scale)


def banded_attention(
    q: Float[Tensor, "b t h e"],
    k: Float[Tensor, "b t h e"],
    v: Float[Tensor, "b t h e"],
    *,
    window: int,
    valid: Bool[Tensor, "b t"] | None = None,
    bias: Float[Tensor, "h w"] | None = None,
) -> Float[Tensor, "b t h e"]:
    """Attend to the keys at most `window // 2` positions away.

    Blocks of queries share the keys around them, so time and memory grow with t × window. Any
    length and any odd window will do.

    Args:
        q: queries.
        k: keys.
        v: values.
        window: odd number of keys around each query.
        valid: keys that may be seen; each position also sees itself.
        bias: added to the logits, by head and place in the window.
    """
    batch, length = q.shape[:2]
    half = window // 2
    block = min(_BLOCK, length)
    behind = -length % block
    count = (length + behind) // block
    queries = rearrange(F.pad(q, (0, 0, 0, 0, 0, behind)), "b (n i) h e -> (b n) h i e", i=block)

    def around(x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, 0, 0, half, half + behind))
        return rearrange(padded.unfold(1, block + 2 * half, block), "b n h e j -> (b n) h j e")

    places = torch.arange(block + 2 * half, device=q.device)
    offsets = places - torch.arange(block, device=q.device)[:, None]  # place in the window
    inside = (offsets >= 0) & (offsets < window)
    if valid is None:
        valid = torch.ones(1, length, dtype=torch.bool, device=q.device)
    keys = F.pad(valid, (half, half + behind)).unfold(1, block + 2 * half, block)
    seen = inside & (keys[:, :, None] | (offsets == half))  # b n i j
    mask = rearrange(seen.expand(batch, count, -1, -1), "b n i j -> (b n) 1 i j")
    if bias is not None:
        added = bias.to(q.dtype)[:, offsets.clamp(0, window - 1)]
        mask = torch.where(mask, added, -math.inf)
    mixed = attention(queries, around(k), around(v), mask=mask)
    return rearrange(mixed, "(b n) h i e -> b (n i) h e", n=count)[:, :length]


class TemporalAttention(nn.Module):
    """Attention whose queries, keys and values come from depth-wise convolutions.

    Args:
        width: channels.
        num_heads: heads, which split the channels.
        window: keys that a query sees around it; 1 or less: all.
        stride: distance of the outputs.
        relative: learn a bias by the distance of a key; of a window only.
        drop_rate: dropout of the output.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        window: int,
        stride: int,
        relative: bool,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window

        def conv() -> TemporalConv:
            return TemporalConv(width, width, 3, stride=stride, depthwise=True, bias=False)

        self.query_conv, self.key_conv, self.value_conv = conv(), conv(), conv()
        self.query_norm, self.key_norm, self.value_norm = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)
        self.drop = nn.Dropout(drop_rate)
        shape = (1, 1, num_heads, window)
        self.rel_pe = nn.Parameter(torch.empty(shape)) if relative and window > 1 else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the relative positions anew; the layers have theirs."""
        if self.rel_pe is not None:
            nn.init.trunc_normal_(self.rel_pe, std=math.sqrt(2 / self.proj.in_features))

    def forward(self, x: Float[Tensor, "b t d"], mask: TimeMask) -> Float[Tensor, "b s d"]:
        """Mix the positions of each sequence."""
        after = mask.every(self.query_conv.stride)
        q, k, v = (
            rearrange(layer(norm(conv(x, mask))), "b t (h e) -> b t h e", h=self.num_heads)
            for conv, norm, layer in (
                (self.query_conv, self.query_norm, self.query),
                (self.key_conv, self.key_norm, self.key),
                (self.value_conv, self.value_norm, self.value),
            )
        )
        if self.window > 1:
            bias = None if self.rel_pe is None else self.rel_pe[0, 0]
            mixed = banded_attention(q, k, v, window=self.window, valid=after.valid, bias=bias)
        else:
            seen = None if after.valid is None else after.valid[:, None, None]
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            mixed = attention(q, k, v, mask=seen).transpose(1, 2)
        return after.written(self.drop(self.proj(rearrange(mixed, "b t h e -> b t (h e)"))))


class TemporalBlock(nn.Module):
    """Pre-norm transformer block over time; with a stride of 2 its shortcut is a max-pool.

    Args:
        width: channels.
        num_heads: of the attention.
        window: see `TemporalAttention`.
        stride: 1 or 2.
        relative: see `TemporalAttention`.
        drop_rate: dropout of attention and MLP.
        drop_path_rate: stochastic depth; above 0 there is a learnt scale of both branches.
    """

    activation_checkpointing = False

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        window: int,
        stride: int,
        relative: bool,
        drop_rate: float,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.ln1 = nn.LayerNorm(width)
        self.ln2 = nn.LayerNorm(width)
        self.attn = TemporalAttention(
            width,
            num_heads,
            window=window,
            stride=stride,
            relative=relative,
            drop_rate=drop_rate,
        )
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(drop_rate),
            nn.Linear(4 * width, width),
            nn.Dropout(drop_rate),
        )
        drops = drop_path_rate > 0
        self.drop_path_attn = ScaledDropPath(width, drop_path_rate) if drops else nn.Identity()
        self.drop_path_mlp = ScaledDropPath(width, drop_path_rate) if drops else nn.Identity()

    @checkpointable
    def forward(self, x: Float[Tensor, "b t d"], mask: TimeMask) -> Float[Tensor, "b s d"]:
        """Return the sequences after attention and MLP."""
        mixed = self.drop_path_attn(self.attn(self.ln1(x), mask))
        x = mixed + (mask.written(x) if self.stride == 1 else mask.max_pool(x))
        after = mask.every(self.stride)
        return x + self.drop_path_mlp(after.written(self.mlp(self.ln2(x))))


class ConvBlock(nn.Module):
    """Residual block of two convolutions, of the backbone without attention.

    Args:
        width: channels.
        stride: 1 or 2.
    """

    activation_checkpointing = False

    def __init__(self, width: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = TemporalConv(width, 2 * width, 3, stride=stride)
        self.conv2 = TemporalConv(2 * width, width, 3)
        self.downsample = TemporalConv(width, width, 1, stride=stride) if stride > 1 else None

    @checkpointable
    def forward(self, x: Float[Tensor, "b t d"], mask: TimeMask) -> Float[Tensor, "b s d"]:
        """Return the sequences after both convolutions."""
        after = mask.every(self.stride)
        mixed = self.conv2(F.relu(self.conv1(x, mask)), after)
        return F.relu(mixed + (x if self.downsample is None else self.downsample(x, mask)))


def joined(
    levels: list[Float[Tensor, "b _ d"]], masks: list[TimeMask], gap: int
) -> tuple[Float[Tensor, "b t d"], TimeMask]:
    """Put sequences behind each other, with gaps that no convolution reads across.

    One call of a layer then serves all of them. `parted` undoes it.
    """
    first = levels[0]
    space = first.new_zeros(first.shape[0], gap, first.shape[2])
    x = torch.cat([part for level in levels for part in (level, space)], dim=1)

    def flags(of: list[Tensor | None]) -> Tensor:
        one, none = (torch.full((first.shape[0], 1), v, device=x.device) for v in (True, False))
        return torch.cat(
            [
                part
                for level, flag in zip(levels, of, strict=True)
                for part in (
                    one.expand(-1, level.shape[1]) if flag is None else flag,
                    none.expand(-1, gap),
                )
            ],
            dim=1,
        )

    valid = flags([mask.valid for mask in masks])
    if masks[0].readable is masks[0].valid:
        return x, TimeMask(valid, valid)
    return x, TimeMask(valid, flags([mask.readable for mask in masks]))


def parted(
    x: Float[Tensor, "b t d"], lengths: list[int], gap: int
) -> tuple[Float[Tensor, "b _ d"], ...]:
    """Return the sequences that `joined` put behind each other."""
    pieces = x.split([part for length in lengths for part in (length, gap)], dim=1)
    return pieces[::2]


def expanded(values: list[Float[Tensor, ""]], lengths: list[int], gap: int) -> Tensor:
    """Return a number for each position of joined sequences."""
    parts = [repeat(v, "-> n 1", n=n + gap) for v, n in zip(values, lengths, strict=True)]
    return torch.cat(parts)
