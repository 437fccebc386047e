"""A video transformer as the backbone of a detector in pictures: four maps from its last tokens.

    picture, as often as a tubelet has frames ──► VideoViT ──► map of the patches ─┬─► × 4
                                                                                   ├─► × 2
                                                                                   ├─► × 1
                                                                                   └─► × 1/2

A plain transformer has one resolution; the pyramid is made of its last map alone. So the encoder
of any VideoMAE, InternVideo's masked one among them, finds objects.

Letters: b batch, d width, (y, x) rows and columns of a map.

Source: Li et al. (2022), Exploring Plain Vision Transformer Backbones for Object Detection, arXiv
2203.16527, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = ["VideoViTPyramid", "VideoViTPyramidConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoViTPyramidConfig(VideoViTConfig):
    """Shape of the backbone: that of its encoder.

    Attributes:
        final_norm: as in the file that the encoder comes from.
    """

    final_norm: bool = False

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the maps, the finest first."""
        return self.width // 4, self.width // 2, self.width, self.width

    @property
    def depths(self) -> tuple[int]:
        """Blocks of the only stage."""
        return (self.depth,)


class VideoViTPyramid(nn.Module):
    """Maps of a picture at a quarter of a patch, half a patch, a patch and two patches."""

    def __init__(self, config: VideoViTPyramidConfig) -> None:
        super().__init__()
        self.config = config
        quarter, half, width, _ = config.widths
        self.encoder = VideoViT(config)
        self.finest = nn.Sequential(
            nn.ConvTranspose2d(width, half, 2, stride=2),
            nn.GroupNorm(1, half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )
        self.finer = nn.ConvTranspose2d(width, half, 2, stride=2)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in config.widths)
        self._reset_own()

    def _reset_own(self) -> None:
        for module in (*self.finest, self.finer, *self.norms):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.encoder.reset_parameters()
        self._reset_own()

    def reset_buffers(self) -> None:
        """Make the encoder's fixed position table, see `VideoViT.reset_buffers`."""
        self.encoder.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of the encoder."""
        yield from self.encoder.block_modules()

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> tuple[Tensor, ...]:
        """Return the four maps "b d y x", the finest first; a rest of a patch is filled with 0."""
        patch = self.config.patch_size
        rows, columns = (-extent % patch for extent in images.shape[-2:])
        images = F.pad(images, (0, columns, 0, rows))
        clip = images[:, :, None].expand(-1, -1, self.config.tubelet_size, -1, -1)
        coarse = self.encoder(clip).volume()[:, 0].permute(0, 3, 1, 2)
        maps = (
            self.finest(coarse),
            self.finer(coarse),
            coarse,
            F.max_pool2d(coarse, 2, ceil_mode=True),
        )
        return tuple(
            norm(each.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
            for norm, each in zip(self.norms, maps, strict=True)
        )
