"""Swin Transformer as the backbone of a detector: four maps, each half as fine.

Attention is within windows, which are shifted by half of their side in every other block; each map
goes out through a norm of its own. Names are those of the released detectors.

COMPAT: a map that is smaller than a window is shifted too, and the four pixels that become one are
ordered channel by channel, as in the toolbox that the detectors were trained with (torchvision does
neither).

Letters: b batch, d width, (y, x) rows and columns of a map, w windows, n tokens of one.

Source: Liu et al. (2021), arXiv 2103.14030.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models.layers import (
    DropPath,
    attention,
    checkpointable,
    drop_path_rates,
    init_module,
)
from internvideo.models.uniformer_blocks import in_windows, out_of_windows

__all__ = ["Swin", "SwinConfig"]

_BLOCKED = -100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SwinConfig:
    """Shape of the backbone; the defaults are Swin-L of the released detectors.

    Attributes:
        width: of the first stage; it doubles from stage to stage.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window_size: side of a window.
        mlp_ratio: width inside the MLPs, in widths.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
    """

    width: int = 192
    depths: tuple[int, int, int, int] = (2, 2, 18, 2)
    num_heads: tuple[int, int, int, int] = (6, 12, 24, 48)
    window_size: int = 12
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.2

    def __post_init__(self) -> None:
        for width, heads in zip(self.widths, self.num_heads, strict=True):
            if width % heads:
                raise ValueError(f"width {width} is no multiple of num_heads {heads}")

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of each stage."""
        return (self.width, 2 * self.width, 4 * self.width, 8 * self.width)


def _padded(x: Float[Tensor, "b d y x"], size: int) -> Float[Tensor, "b d r s"]:
    return F.pad(x, (0, -x.shape[3] % size, 0, -x.shape[2] % size))


class _Patches(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, 4, stride=4)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b r s d"]:
        return self.norm(self.projection(_padded(images, 4)).permute(0, 2, 3, 1))


class _Merging(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Float[Tensor, "b y x d"]) -> Float[Tensor, "b r s e"]:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = rearrange(x, "b (y i) (x j) d -> b y x (d i j)", i=2, j=2)
        return self.reduction(self.norm(x))


def _relative_positions(side: int) -> Int[Tensor, "n n"]:
    """Return, for each pair of tokens of a window, the row of the table of biases."""
    y, x = torch.arange(side * side) // side, torch.arange(side * side) % side
    rows, columns = y[:, None] - y + side - 1, x[:, None] - x + side - 1
    return rows * (2 * side - 1) + columns


class _WindowAttention(nn.Module):
    def __init__(self, width: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.num_heads, self.side = num_heads, side
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * side - 1) ** 2, num_heads)
        )
        self.register_buffer("relative_position_index", _relative_positions(side))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def reset_table(self) -> None:
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        index = _relative_positions(self.side).to(self.relative_position_bias_table.device)
        self.relative_position_index = index

    def forward(
        self, x: Float[Tensor, "bw n d"], mask: Float[Tensor, "w n n"] | None
    ) -> Float[Tensor, "bw n d"]:
        qkv = rearrange(self.qkv(x), "b n (k h e) -> k b h n e", k=3, h=self.num_heads)
        bias = self.relative_position_bias_table[self.relative_position_index]  # n n h
        bias = bias.permute(2, 0, 1)[None]
        if mask is not None:
            repeats = x.shape[0] // mask.shape[0]
            bias = (bias + mask[:, None].to(bias.dtype)).repeat(repeats, 1, 1, 1)
        mixed = attention(*qkv.unbind(0), mask=bias.to(qkv.dtype))
        return self.proj(rearrange(mixed, "b h n e -> b n (h e)"))


class _ShiftedWindows(nn.Module):
    def __init__(self, width: int, num_heads: int, side: int, shift: int) -> None:
        super().__init__()
        self.side, self.shift = side, shift
        self.w_msa = _WindowAttention(width, num_heads, side)

    def forward(self, x: Float[Tensor, "b y x d"]) -> Float[Tensor, "b y x d"]:
        shape = (x.shape[1], x.shape[2])
        x = F.pad(x, (0, 0, 0, -shape[1] % self.side, 0, -shape[0] % self.side))
        whole, mask = (x.shape[1], x.shape[2]), None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
            mask = self._mask(whole, x)
        x = out_of_windows(
            self.w_msa(in_windows(x, self.side), mask), self.side, whole, padded=True
        )
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        return x[:, : shape[0], : shape[1]]

    def _mask(self, shape: tuple[int, int], like: Tensor) -> Float[Tensor, "w n n"]:
        """Keep apart what only the shift has brought together."""
        rows, columns = (
            1 * (torch.arange(extent, device=like.device) >= extent - self.side)
            + 1 * (torch.arange(extent, device=like.device) >= extent - self.shift)
            for extent in shape
        )
        regions = in_windows((3 * rows[:, None] + columns)[None, :, :, None].float(), self.side)
        apart = regions != regions.transpose(1, 2)
        return torch.where(apart, _BLOCKED, 0.0)


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(width, hidden), nn.GELU()), nn.Linear(hidden, width)
        )

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return self.layers(x)


class _Block(nn.Module):
    activation_checkpointing = False

    def __init__(self, config: SwinConfig, stage: int, place: int, drop: float) -> None:
        super().__init__()
        width, side = config.widths[stage], config.window_size
        shift = side // 2 if place % 2 else 0
        self.norm1 = nn.LayerNorm(width)
        self.attn = _ShiftedWindows(width, config.num_heads[stage], side, shift)
        self.norm2 = nn.LayerNorm(width)
        self.ffn = _FeedForward(width, int(width * config.mlp_ratio))
        self.drop_path = DropPath(drop)

    @checkpointable
    def forward(self, x: Float[Tensor, "b y x d"]) -> Float[Tensor, "b y x d"]:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.ffn(self.norm2(x)))


class _Stage(nn.Module):
    def __init__(self, config: SwinConfig, stage: int, rates: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [_Block(config, stage, place, rate) for place, rate in enumerate(rates)]
        )
        self.downsample = _Merging(config.widths[stage]) if stage < 3 else None

    def forward(self, x: Float[Tensor, "b y x d"]) -> Float[Tensor, "b y x d"]:
        for block in self.blocks:
            x = block(x)
        return x


class Swin(nn.Module):
    """Maps of a picture at strides 4, 8, 16 and 32."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = _Patches(config.width)
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        self.stages = nn.ModuleList(
            [
                _Stage(config, stage, [next(rates) for _ in range(depth)])
                for stage, depth in enumerate(config.depths)
            ]
        )
        for stage, width in enumerate(config.widths):
            self.add_module(f"norm{stage}", nn.LayerNorm(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for module in self.modules():
            if isinstance(module, _WindowAttention):
                module.reset_table()
            init_module(module, linear=lambda weight: nn.init.trunc_normal_(weight, std=0.02))

    def reset_buffers(self) -> None:
        """The tables are part of the state."""

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks in order."""
        for stage in self.stages:
            yield from stage.blocks  # type: ignore[misc]

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> tuple[Tensor, ...]:
        """Return the four maps "b d y x", the finest first."""
        x, maps = self.patch_embed(images), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            norm = self.get_submodule(f"norm{number}")
            maps.append(norm(x).permute(0, 3, 1, 2).contiguous())
            if stage.downsample is not None:
                x = stage.downsample(x)  # type: ignore[operator]
        return tuple(maps)
