"""UniFormer for video: convolution blocks, then attention over space and time.

Names of the weights are those of the released UniFormer-B of the verbs of Ego4D.

Letters: b batch, c channels, d width, (t, y, x) frames, rows and columns, n tokens, k outputs.

Source: Li et al. (2022), UniFormer, arXiv 2201.04676.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.layers import drop_path_rates, init_module
from internvideo.models.uniformer_blocks import AttentionBlock, ConvBlock

__all__ = ["SIZES", "UniFormerVideo", "UniFormerVideoConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UniFormerVideoConfig:
    """Shape of the network; the defaults are UniFormer-B for hands.

    Attributes:
        image_size: side of the clips that it is made for; it takes any multiples of 32 pixels.
        num_frames: of them; it takes any even number.
        num_classes: outputs.
        widths: channels of each stage.
        depths: blocks of each stage.
        head_dim: channels of an attention head.
        mlp_ratio: width inside the MLPs, in widths.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
    """

    image_size: int = 320
    num_frames: int = 8
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


class UniFormerVideo(VideoEncoder, nn.Module):
    """Numbers for a clip: its normalised last map, averaged, through a linear layer.

    Example:
        >>> import torch
        >>> config = UniFormerVideoConfig(widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), head_dim=4)
        >>> UniFormerVideo(config)(torch.randn(2, 3, 4, 32, 64)).shape
        torch.Size([2, 20])
    """

    capabilities = frozenset({"features", "embed", "classes"})

    def __init__(self, config: UniFormerVideoConfig) -> None:
        super().__init__()
        self.config = config
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        channels = 3
        for stage, (width, depth) in enumerate(
            zip(config.widths, config.depths, strict=True), start=1
        ):
            self.add_module(f"patch_embed{stage}", _Patches(channels, width, first=stage == 1))
            blocks = [self._block(stage, width, next(rates)) for _ in range(depth)]
            self.add_module(f"blocks{stage}", nn.ModuleList(blocks))
            channels = width
        self.norm = nn.BatchNorm3d(channels)
        self.head = nn.Linear(channels, config.num_classes)
        self.reset_parameters()

    def _block(self, stage: int, width: int, rate: float) -> nn.Module:
        hidden = int(width * self.config.mlp_ratio)
        if stage < 3:
            return ConvBlock(3, width, hidden, drop=rate)
        return AttentionBlock(3, width, hidden, self.config.head_dim, drop=rate)

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

    def forward_features(
        self, video: Float[Tensor, "b 3 t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode clips; a token is two frames and 32 x 32 pixels.

        Args:
            video: normalised pixels.
            layers: blocks whose outputs are wanted, counted over the stages; each stage has a width
                and a grid of its own.

        Raises:
            IndexError: a block that there is not.
        """
        wanted = [range(sum(self.config.depths))[number] for number in layers]
        x, found = self._map(video, wanted)
        return VideoFeatures(
            tokens=x.flatten(2).transpose(1, 2),
            grid=(x.shape[2], x.shape[3], x.shape[4]),
            hidden=tuple(found[number] for number in wanted),
        )

    def _map(
        self, video: Float[Tensor, "b 3 t y x"], wanted: Sequence[int] = ()
    ) -> tuple[Float[Tensor, "b d s r q"], dict[int, Tensor]]:
        """Return the normalised last map, and the tokens after some blocks."""
        x, number = video, 0
        found: dict[int, Tensor] = {}
        for stage in range(1, 5):
            x = self.get_submodule(f"patch_embed{stage}")(x)
            for block in self.get_submodule(f"blocks{stage}").children():
                x = block(x)
                if number in wanted:
                    found[number] = x.flatten(2).transpose(1, 2)
                number += 1
        return self.norm(x), found

    def pooled(self, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b d"]:
        """Return the mean of the tokens: what the head sees.

        It is not taken over `tokens`: of one clip, on the CPU, PyTorch 2.14 gives a wrong gradient
        of a batch norm whose output has its channels last (fixture `ego4d-fhp`).
        """
        return self._map(video)[0].mean(dim=(2, 3, 4))

    def forward(self, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b k"]:
        """Return the outputs for normalised clips."""
        return self.head(self.pooled(video))


SIZES: dict[str, UniFormerVideoConfig] = {"B": UniFormerVideoConfig()}
"""The published size, for hands; `dataclasses.replace` makes others."""
