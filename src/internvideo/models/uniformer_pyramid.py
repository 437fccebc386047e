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

from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.layers import drop_path_rates, init_module
from internvideo.models.uniformer_blocks import (
    NORM_EPS,
    AttentionBlock,
    ConvBlock,
    UniFormerBlock,
)

__all__ = ["UniFormerPyramid", "UniFormerPyramidConfig"]

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


class _Patches(nn.Module):
    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Conv2d(channels, width, size, stride=size)

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d r s"]:
        return _normed(self.proj(x), self.norm)


def _normed(x: Float[Tensor, "b d y x"], norm: nn.LayerNorm) -> Float[Tensor, "b d y x"]:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


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
            self.add_module(f"norm{stage}", nn.LayerNorm(width, eps=NORM_EPS))
            channels = width
        self.reset_parameters()

    def _block(self, stage: int, place: int, rate: float) -> nn.Module:
        config, width = self.config, self.config.widths[stage - 1]
        hidden = int(width * config.mlp_ratio)
        if stage < 3:
            return ConvBlock(2, width, hidden, drop=rate, scaled=config.layer_scale)
        is_hybrid = config.third_stage == "hybrid" and (place + 1) % _GLOBAL_EVERY != 0
        windowed = stage == 3 and (is_hybrid or config.third_stage == "windows")
        return AttentionBlock(
            2, width, hidden, config.head_dim, drop=rate, scaled=config.layer_scale,
            window=config.window_size if windowed else None,
        )  # fmt: skip

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for module in self.modules():
            if isinstance(module, UniFormerBlock) and module.gamma_1 is not None:
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
