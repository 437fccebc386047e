"""UniFormer for video: convolution blocks, then attention over space and time.

Names of the weights are those of the released UniFormer-B of the verbs of Ego4D.

Letters: b batch, c channels, d width, (t, y, x) frames, rows and columns, n tokens, k outputs.

Source: Li et al. (2022), UniFormer, arXiv 2201.04676.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.layers import (
    DropPath,
    Mlp,
    checkpointable,
    drop_path_rates,
    init_module,
)
from internvideo.models.uniformer_pyramid import HeadsAttention

__all__ = ["UniFormerVideo", "UniFormerVideoConfig"]

_NORM_EPS = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class UniFormerVideoConfig:
    """Shape of the network; the defaults are UniFormer-B for hands.

    Attributes:
        num_classes: outputs.
        widths: channels of each stage.
        depths: blocks of each stage.
        head_dim: channels of an attention head.
        mlp_ratio: width inside the MLPs, in widths.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
    """

    num_classes: int = 20
    widths: tuple[int, int, int, int] = (64, 128, 320, 512)
    depths: tuple[int, int, int, int] = (5, 8, 20, 7)
    head_dim: int = 64
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.1

    def __post_init__(self) -> None:
        for width in self.widths[2:]:
            if width % self.head_dim:
                raise ValueError(f"width {width} is no multiple of head_dim {self.head_dim}")


class _Patches(nn.Module):
    def __init__(self, channels: int, width: int, *, first: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        kernel, stride, padding = (
            ((3, 4, 4), (2, 4, 4), (1, 0, 0)) if first else ((1, 2, 2), (1, 2, 2), (0, 0, 0))
        )
        self.proj = nn.Conv3d(channels, width, kernel, stride=stride, padding=padding)

    def forward(self, x: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b d s r q"]:
        x = self.norm(self.proj(x).permute(0, 2, 3, 4, 1))
        return x.permute(0, 4, 1, 2, 3).contiguous()


class _ConvMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(width, hidden, 1)
        self.fc2 = nn.Conv3d(hidden, width, 1)

    def forward(self, x: Float[Tensor, "b d t y x"]) -> Float[Tensor, "b d t y x"]:
        return self.fc2(F.gelu(self.fc1(x)))


class _ConvBlock(nn.Module):
    activation_checkpointing = False

    def __init__(self, config: UniFormerVideoConfig, width: int, drop: float) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv1 = nn.Conv3d(width, width, 1)
        self.conv2 = nn.Conv3d(width, width, 1)
        self.attn = nn.Conv3d(width, width, 5, padding=2, groups=width)
        self.drop_path = DropPath(drop)
        self.norm2 = nn.BatchNorm3d(width)
        self.mlp = _ConvMlp(width, int(width * config.mlp_ratio))

    @checkpointable
    def forward(self, x: Float[Tensor, "b d t y x"]) -> Float[Tensor, "b d t y x"]:
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class _AttentionBlock(nn.Module):
    activation_checkpointing = False

    def __init__(self, config: UniFormerVideoConfig, width: int, drop: float) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = HeadsAttention(width, config.head_dim)
        self.drop_path = DropPath(drop)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))

    @checkpointable
    def forward(self, x: Float[Tensor, "b d t y x"]) -> Float[Tensor, "b d t y x"]:
        x = x + self.pos_embed(x)
        shape, x = x.shape[2:], x.flatten(2).transpose(1, 2)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.transpose(1, 2).unflatten(2, shape).contiguous()


class UniFormerVideo(nn.Module):
    """Numbers for a clip: its normalised last map, averaged, through a linear layer."""

    def __init__(self, config: UniFormerVideoConfig) -> None:
        super().__init__()
        self.config = config
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        channels = 3
        for stage, (width, depth) in enumerate(
            zip(config.widths, config.depths, strict=True), start=1
        ):
            self.add_module(f"patch_embed{stage}", _Patches(channels, width, first=stage == 1))
            kind = _ConvBlock if stage < 3 else _AttentionBlock
            blocks = [kind(config, width, next(rates)) for _ in range(depth)]
            self.add_module(f"blocks{stage}", nn.ModuleList(blocks))
            channels = width
        self.norm = nn.BatchNorm3d(channels)
        self.head = nn.Linear(channels, config.num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.reset_parameters()
            init_module(module, linear=lambda weight: nn.init.trunc_normal_(weight, std=0.02))

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks in order."""
        for stage in range(1, 5):
            yield from self.get_submodule(f"blocks{stage}").children()

    def feature_map(self, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b d s r q"]:
        """Return the last map: half of the frames, rows and columns of 32 pixels."""
        x = video
        for stage in range(1, 5):
            x = self.get_submodule(f"patch_embed{stage}")(x)
            for block in self.get_submodule(f"blocks{stage}").children():
                x = block(x)
        return self.norm(x)

    def forward(self, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b k"]:
        """Return the outputs for normalised clips."""
        return self.head(self.feature_map(video).mean(dim=(2, 3, 4)))
