"""The blocks of UniFormer, for pictures and for clips: convolutions, or attention over all places.

Letters: b batch, d width, … the places of a map (rows and columns, in a clip frames before them), n
tokens.

Source: Li et al. (2022), UniFormer, arXiv 2201.04676 and 2201.09450.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.layers import DropPath, Mlp, attention, checkpointable

__all__ = [
    "NORM_EPS",
    "AttentionBlock",
    "ConvBlock",
    "HeadsAttention",
    "UniFormerBlock",
    "in_windows",
    "out_of_windows",
]

NORM_EPS = 1e-6

_Axes = Literal[2, 3]
_CONV: dict[int, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORM: dict[int, type[nn.BatchNorm2d | nn.BatchNorm3d]] = {
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


def in_windows(x: Float[Tensor, "b y x d"], size: int) -> Float[Tensor, "w n d"]:
    """Cut a map, padded with zeros at the bottom and right, into windows."""
    _, height, width, _ = x.shape
    x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
    return rearrange(x, "b (m i) (n j) d -> (b m n) (i j) d", i=size, j=size)


def out_of_windows(
    windows: Float[Tensor, "w n d"], size: int, shape: tuple[int, int], *, padded: bool = False
) -> Float[Tensor, "b y x d"]:
    """Put a map of that height and width together again, with its padding or without."""
    height, width = shape
    rows, columns = -(-height // size), -(-width // size)
    x = rearrange(windows, "(b m n) (i j) d -> b (m i) (n j) d", m=rows, n=columns, i=size, j=size)
    return x if padded else x[:, :height, :width]


class _ConvMlp(nn.Module):
    def __init__(self, axes: _Axes, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = _CONV[axes](width, hidden, 1)
        self.fc2 = _CONV[axes](hidden, width, 1)

    def forward(self, x: Float[Tensor, "b d *m"]) -> Float[Tensor, "b d *m"]:
        return self.fc2(F.gelu(self.fc1(x)))


class UniFormerBlock(nn.Module):
    """What both kinds of block share: depth-wise positions, drop path, layer scale.

    Args:
        axes: 2 for pictures, 3 for clips.
        width: channels.
        drop: rate of the stochastic depth.
        scale_shape: of the learnt scales of the branches; None has none.
    """

    activation_checkpointing = False

    def __init__(
        self, axes: _Axes, width: int, *, drop: float, scale_shape: tuple[int, ...] | None
    ) -> None:
        super().__init__()
        self.pos_embed = _CONV[axes](width, width, 3, padding=1, groups=width)
        self.drop_path = DropPath(drop)
        self.gamma_1 = None if scale_shape is None else nn.Parameter(torch.ones(scale_shape))
        self.gamma_2 = None if scale_shape is None else nn.Parameter(torch.ones(scale_shape))

    def branch(self, x: Tensor, gamma: Tensor | None) -> Tensor:
        """Return what a branch adds."""
        return self.drop_path(x if gamma is None else gamma * x)


class ConvBlock(UniFormerBlock):
    """Depth-wise convolution between two of single places, then an MLP."""

    def __init__(
        self, axes: _Axes, width: int, hidden: int, *, drop: float, scaled: bool = False
    ) -> None:
        shape = (1, width, *[1] * axes) if scaled else None
        super().__init__(axes, width, drop=drop, scale_shape=shape)
        conv, norm = _CONV[axes], _BATCH_NORM[axes]
        self.norm1 = norm(width)
        self.conv1 = conv(width, width, 1)
        self.conv2 = conv(width, width, 1)
        self.attn = conv(width, width, 5, padding=2, groups=width)
        self.norm2 = norm(width)
        self.mlp = _ConvMlp(axes, width, hidden)

    @checkpointable
    def forward(self, x: Float[Tensor, "b d *m"]) -> Float[Tensor, "b d *m"]:
        """Return the map, mixed."""
        x = x + self.pos_embed(x)
        mixed = self.conv2(self.attn(self.conv1(self.norm1(x))))
        x = x + self.branch(mixed, self.gamma_1)
        return x + self.branch(self.mlp(self.norm2(x)), self.gamma_2)


class HeadsAttention(nn.Module):
    """Attention over all tokens, in heads of a given width."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return the tokens, mixed."""
        qkv = rearrange(self.qkv(x), "b n (k h e) -> k b h n e", k=3, e=self.head_dim)
        return self.proj(rearrange(attention(*qkv.unbind(0)), "b h n e -> b n (h e)"))


class AttentionBlock(UniFormerBlock):
    """Attention over the whole map, or, given a window size, within windows of a picture."""

    def __init__(
        self,
        axes: _Axes,
        width: int,
        hidden: int,
        head_dim: int,
        *,
        drop: float,
        scaled: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__(axes, width, drop=drop, scale_shape=(width,) if scaled else None)
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = HeadsAttention(width, head_dim)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, hidden)

    @checkpointable
    def forward(self, x: Float[Tensor, "b d *m"]) -> Float[Tensor, "b d *m"]:
        """Return the map, mixed."""
        x = (x + self.pos_embed(x)).movedim(1, -1)
        shape = x.shape[1:-1]
        if self.window is None:
            mixed = self.attn(self.norm1(x).flatten(1, -2)).unflatten(1, shape)
        else:
            windows = in_windows(self.norm1(x), self.window)
            mixed = out_of_windows(self.attn(windows), self.window, (shape[0], shape[1]))
        x = x + self.branch(mixed, self.gamma_1)
        x = x + self.branch(self.mlp(self.norm2(x)), self.gamma_2)
        return x.movedim(-1, 1).contiguous()
