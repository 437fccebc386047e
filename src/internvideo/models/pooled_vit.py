"""A `VideoViT` as the video tower of a two-tower model: its tokens are pooled and projected.

So a masked-pretrained encoder becomes a ViCLIP (`viclip-nano`) or an InternVideo-MM (`mm-nano`).

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n patch tokens, v of
them visible; e joint dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = ["Pool", "PooledVideoViT"]

Pool = Literal["mean", "max", "mean+max"]


class PooledVideoViT(VideoEncoder, nn.Module):
    """A `VideoViT` as the video tower: pooled tokens, optional norm, linear projection.

    Args:
        config: of the encoder.
        embed_dim: dimension of the space shared with the text tower.
        pool: see `VideoFeatures.pool`.
        projection_norm: "batch" puts a BatchNorm without affine parameters in front of the
            projection, see `models.viclip`.
        projection: False has none: `project` pools and normalises, `e` is the encoder's width.
    """

    capabilities = frozenset({"features", "embed"})

    def __init__(
        self,
        config: VideoViTConfig,
        embed_dim: int,
        *,
        pool: Pool,
        projection_norm: Literal["none", "batch"],
        projection: bool = True,
    ) -> None:
        super().__init__()
        self.config = config
        self.pool: Pool = pool
        self.encoder = VideoViT(config)
        self.norm = (
            nn.BatchNorm1d(config.width, affine=False)
            if projection_norm == "batch"
            else nn.Identity()
        )
        self.proj = nn.Linear(config.width, embed_dim, bias=False) if projection else nn.Identity()
        self._reset_head()

    def _reset_head(self) -> None:
        if isinstance(self.proj, nn.Linear):
            nn.init.normal_(self.proj.weight, std=self.config.width**-0.5)
        if isinstance(self.norm, nn.BatchNorm1d):
            self.norm.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.encoder.reset_parameters()
        self._reset_head()

    def reset_buffers(self) -> None:
        """Make the encoder's fixed position table, see `VideoViT.reset_buffers`."""
        self.encoder.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of the encoder."""
        yield from self.encoder.block_modules()

    def forward_features(
        self,
        video: Float[Tensor, "b c t y x"],
        *,
        visible: Bool[Tensor, "b n"] | Int[Tensor, "b v"] | None = None,
        layers: Sequence[int] = (),
    ) -> VideoFeatures:
        """Encode a clip; see `VideoViT.forward_features`."""
        return self.encoder.forward_features(video, visible=visible, layers=layers)

    forward = forward_features

    def project(self, features: VideoFeatures) -> Float[Tensor, "b e"]:
        """Map the pooled tokens into the joint space (not normalised)."""
        return self.proj(self.norm(features.pool(self.pool)))
