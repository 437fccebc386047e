"""The video side of the unmasked teacher's second stage (Li et al., 2023, arXiv 2303.16058).

The encoder and the decoders are those of the first stage (`models.unmasked_teacher`). New are a
norm of the pooled tokens, and clips of any number of frames: a still is a clip of one.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n tokens in the order
time, row, column, of which v are visible; k layers; s pooled steps; d width, e width of a target.
"""

from __future__ import annotations

from functools import partial
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models.contract import VideoFeatures
from internvideo.models.layers import init_module
from internvideo.models.positions import sinusoid_table
from internvideo.models.tubelets import take_tokens
from internvideo.models.unmasked_teacher import FeatureDecoder, UnmaskedTeacherConfig
from internvideo.models.vit import VideoViT

__all__ = ["FlatPositionsViT", "UMTVision"]


class FlatPositionsViT(VideoViT):
    """A `VideoViT` whose position is the number of the token, whatever the grid of the clip.

    So the table of a longer clip begins with that of a shorter one, and nothing is resampled.
    """

    def positions(self, grid: tuple[int, int, int]) -> Float[Tensor, "1 n d"]:
        """Return the position table for a clip of that many tokens in time, rows and columns."""
        count = prod(grid)
        if count <= self.pos_embed.shape[1]:
            return self.pos_embed[:, :count]
        return self._sinusoid(count)

    def fixed_positions(self, grid: tuple[int, int, int]) -> Float[Tensor, "1 n d"]:
        """Return the same without anything learnt, see `VideoViT.fixed_positions`."""
        learnt = self.config.positions == "learnable"
        return self._sinusoid(prod(grid)) if learnt else self.positions(grid)

    def _sinusoid(self, count: int) -> Float[Tensor, "1 n d"]:
        table = sinusoid_table(count, self.config.width, device=self.pos_embed.device)
        return table.to(self.pos_embed.dtype)


class UMTVision(nn.Module):
    """Encoder, decoders for the alignment with the teacher, and a norm of the pooled tokens.

    Args:
        config: of encoder and decoders.
        alignment: whether there are decoders; a model for retrieval has none.
    """

    def __init__(self, config: UnmaskedTeacherConfig, *, alignment: bool) -> None:
        super().__init__()
        self.config = config
        width = config.encoder.width
        self.encoder = FlatPositionsViT(config.encoder)
        self.clip_decoder = None
        if alignment:
            self.clip_decoder = nn.ModuleList(
                FeatureDecoder(width, config.target_width, norm_eps=config.decoder_norm_eps)
                for _ in range(config.num_targets)
            )
        self.pool_norm = nn.LayerNorm(width, eps=config.encoder.norm_eps)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew: Xavier-uniform matrices, zero biases."""
        self.encoder.reset_parameters()
        self.pool_norm.reset_parameters()
        if self.clip_decoder is not None:
            self.clip_decoder.apply(partial(init_module, linear=nn.init.xavier_uniform_))

    def forward(
        self,
        video: Float[Tensor, "b c t y x"],
        *,
        visible: Int[Tensor, "b v"] | None = None,
        align: bool = False,
    ) -> VideoFeatures:
        """Encode a clip.

        Args:
            video: normalised pixels.
            visible: numbers of the tokens to encode; None encodes all.
            align: also return the layers that `answers` takes, as `hidden`.
        """
        layers = self.config.layers if align else ()
        return self.encoder.forward_features(video, visible=visible, layers=layers)

    def pool(self, features: VideoFeatures, *, by_frame: bool = False) -> Float[Tensor, "b s d"]:
        """Return the normalised mean of the tokens of each frame, or of all visible ones as one.

        Args:
            features: of `forward`.
            by_frame: a mean of each frame even where tokens are hidden, equally many in all frames;
                without hidden tokens it is one of each frame always.
        """
        whole = features.tokens.shape[1] == prod(features.grid)
        steps = features.grid[0] if whole or by_frame else 1
        return self.pool_norm(features.tokens.unflatten(1, (steps, -1)).mean(dim=2))

    def answers(
        self, features: VideoFeatures, visible: Int[Tensor, "b v"]
    ) -> Float[Tensor, "k b v e"]:
        """Return what the student says of its visible tokens, see `UnmaskedTeacher.forward`.

        Raises:
            ValueError: the model has no decoders, or was called without `align`.
        """
        if self.clip_decoder is None or not features.hidden:
            raise ValueError("answers needs decoders (alignment=True) and features of align=True")
        positions = take_tokens(self.encoder.fixed_positions(features.grid), visible)
        return torch.stack(
            [
                decoder(self.encoder.norm(tokens) + positions.to(tokens.dtype))
                for tokens, decoder in zip(features.hidden, self.clip_decoder, strict=True)
            ]
        )
