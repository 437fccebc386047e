"""UniFormer for pictures, as the backbone of a detector: four maps, each half as fine.

Two stages of convolution blocks, then two of attention blocks. In the third stage attention is
within windows, except for every fourth block; each map goes out through a norm of its own. Names
are those of the released detectors.

Letters: b batch, d width, (y, x) rows and columns of a map, n tokens.

Source: Li et al. (2022), UniFormer, arXiv 2201.09450, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.layers import (
    DropPath,
    Mlp,
    attention,
    checkpointable,
    drop_path_rates,
    init_module,
)

__all__ = [
    "HeadsAttention",
    "UniFormerPyramid",
    "UniFormerPyramidConfig",
    "in_windows",
    "out_of_windows",
]

_NORM_EPS = 1e-6
_GLOBAL_EVERY = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class UniFormerPyramidConfig:
    """Shape of the backbone; the defaults are UniFormer-L.

    Attributes:
        widths: channels of each stage.
        depths: blocks of each stage.
        head_dim: channels of an attention head.
        mlp_ratio: width inside the MLPs, in widths.
        third_stage: "hybrid" lets every fourth block see the whole map, the others a window;
            "windows" and "global" are the same in all blocks.
        window_size: side of a window.
        layer_scale: whether branches have a learnt scale.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
    """

    widths: tuple[int, int, int, int] = (128, 192, 448, 640)
    depths: tuple[int, int, int, int] = (5, 10, 24, 7)
    head_dim: int = 64
    mlp_ratio: float = 4.0
    third_stage: Literal["hybrid", "windows", "global"] = "hybrid"
    window_size: int = 14
    layer_scale: bool = True
    drop_path_rate: float = 0.3

    def __post_init__(self) -> None:
        for width in self.widths[2:]:
            if width % self.head_dim:
                raise ValueError(f"width {width} is no multiple of head_dim {self.head_dim}")


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


class _Patches(nn.Module):
    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Conv2d(channels, width, size, stride=size)

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d r s"]:
        return _normed(self.proj(x), self.norm)


def _normed(x: Float[Tensor, "b d y x"], norm: nn.LayerNorm) -> Float[Tensor, "b d y x"]:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


class _ConvMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Float[Tensor, "b d y x"]) -> Float[Tensor, "b d y x"]:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    """What both kinds of block share: depth-wise positions, drop path, layer scale."""

    activation_checkpointing = False

    def __init__(self, width: int, *, scale_shape: tuple[int, ...] | None, drop: float) -> None:
        super().__init__()
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.drop_path = DropPath(drop)
        self.gamma_1 = None if scale_shape is None else nn.Parameter(torch.ones(scale_shape))
        self.gamma_2 = None if scale_shape is None else nn.Parameter(torch.ones(scale_shape))

    def branch(self, x: Tensor, gamma: Tensor | None) -> Tensor:
        return self.drop_path(x if gamma is None else gamma * x)


class _ConvBlock(_Block):
    def __init__(self, config: UniFormerPyramidConfig, width: int, drop: float) -> None:
        shape = (1, width, 1, 1) if config.layer_scale else None
        super().__init__(width, scale_shape=shape, drop=drop)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 1)
        self.conv2 = nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm2 = nn.BatchNorm2d(width)
        self.mlp = _ConvMlp(width, int(width * config.mlp_ratio))

    @checkpointable
    def forward(self, x: Float[Tensor, "b d y x"]) -> Float[Tensor, "b d y x"]:
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


class _AttentionBlock(_Block):
    """Attention over the whole map, or, given a window size, within windows."""

    def __init__(
        self, config: UniFormerPyramidConfig, width: int, drop: float, window: int | None
    ) -> None:
        super().__init__(width, scale_shape=(width,) if config.layer_scale else None, drop=drop)
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = HeadsAttention(width, config.head_dim)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))

    @checkpointable
    def forward(self, x: Float[Tensor, "b d y x"]) -> Float[Tensor, "b d y x"]:
        x = (x + self.pos_embed(x)).permute(0, 2, 3, 1)
        shape = (x.shape[1], x.shape[2])
        if self.window is None:
            mixed = self.attn(self.norm1(x).flatten(1, 2)).unflatten(1, shape)
        else:
            windows = in_windows(self.norm1(x), self.window)
            mixed = out_of_windows(self.attn(windows), self.window, shape)
        x = x + self.branch(mixed, self.gamma_1)
        x = x + self.branch(self.mlp(self.norm2(x)), self.gamma_2)
        return x.permute(0, 3, 1, 2).contiguous()


class UniFormerPyramid(nn.Module):
    """Maps of a picture at strides 4, 8, 16 and 32."""

    def __init__(self, config: UniFormerPyramidConfig) -> None:
        super().__init__()
        self.config = config
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        channels = 3
        for stage, (width, depth) in enumerate(
            zip(config.widths, config.depths, strict=True), start=1
        ):
            patches = _Patches(channels, width, 4 if stage == 1 else 2)
            self.add_module(f"patch_embed{stage}", patches)
            blocks = [self._block(stage, place, next(rates)) for place in range(depth)]
            self.add_module(f"blocks{stage}", nn.ModuleList(blocks))
            self.add_module(f"norm{stage}", nn.LayerNorm(width, eps=_NORM_EPS))
            channels = width
        self.reset_parameters()

    def _block(self, stage: int, place: int, rate: float) -> nn.Module:
        config, width = self.config, self.config.widths[stage - 1]
        if stage < 3:
            return _ConvBlock(config, width, rate)
        is_hybrid = config.third_stage == "hybrid" and (place + 1) % _GLOBAL_EVERY != 0
        windowed = stage == 3 and (is_hybrid or config.third_stage == "windows")
        return _AttentionBlock(config, width, rate, config.window_size if windowed else None)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for module in self.modules():
            if isinstance(module, _Block) and module.gamma_1 is not None:
                nn.init.ones_(module.gamma_1)
                nn.init.ones_(module.gamma_2)  # type: ignore[arg-type]
            init_module(module, linear=lambda weight: nn.init.trunc_normal_(weight, std=0.02))

    def reset_buffers(self) -> None:
        """There are no tables beside the weights."""

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks in order."""
        for stage in range(1, 5):
            yield from self.get_submodule(f"blocks{stage}").children()

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> tuple[Tensor, ...]:
        """Return the four maps "b d y x", the finest first."""
        x, maps = images, []
        for stage in range(1, 5):
            x = self.get_submodule(f"patch_embed{stage}")(x)
            for block in self.get_submodule(f"blocks{stage}").children():
                x = block(x)
            maps.append(_normed(x, self.get_submodule(f"norm{stage}")))  # type: ignore[arg-type]
        return tuple(maps)
