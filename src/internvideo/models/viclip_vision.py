"""The video tower of ViCLIP: CLIP's image transformer grown in time (arXiv 2307.06942).

Patches of all frames attend to each other; one class token a clip; a position table over space plus
one over time. All released ViCLIP files have it. Names of the tensors are those of these files.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n patch tokens, v of
them visible; d width, e joint dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.clip_init import resize_spatial_positions, resize_temporal_positions
from internvideo.models.clip_layers import Activation, CLIPLayerNorm, CLIPTransformer
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.layers import BlockChanges, DropPathAxis, run_blocks
from internvideo.models.tubelets import cut_tubelets, take_tokens, tubelet_grid, visible_index

__all__ = ["ViCLIPVision", "ViCLIPVisionConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ViCLIPVisionConfig:
    """Shape of a `ViCLIPVision`.

    Attributes:
        image_size: pixels of the square frames that the model is made for; others work too.
        num_frames: frames that the model is made for; others work too.
        patch_size: pixels of a patch along rows and columns.
        tubelet_size: frames of a patch; 1 in every released model.
        width: of the tokens.
        depth: number of blocks.
        num_heads: attention heads; they divide `width`.
        embed_dim: dimension of the space shared with the text tower.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        drop_path_axis: what stochastic depth drops: the branch of single clips, or as the reference
            does that of single places of the sequence, the same in all clips ("positions").
        head_drop_rate: dropout of the class token before the projection.
        activation: inside the blocks; "gelu" in most models that open_clip trained.
    """

    image_size: int = 224
    num_frames: int = 8
    patch_size: int = 16
    tubelet_size: int = 1
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    embed_dim: int = 512
    drop_path_rate: float = 0.1
    drop_path_axis: DropPathAxis = "clips"
    head_drop_rate: float = 0.0
    activation: Activation = "quick-gelu"

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        if self.image_size % self.patch_size or self.num_frames % self.tubelet_size:
            raise ValueError(
                f"image_size {self.image_size} and num_frames {self.num_frames} must be multiples "
                f"of patch_size {self.patch_size} and tubelet_size {self.tubelet_size}"
            )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens in time, rows and columns of the clip that the model is made for."""
        side = self.image_size // self.patch_size
        return self.num_frames // self.tubelet_size, side, side


class ViCLIPVision(VideoEncoder, nn.Module):
    """CLIP's image transformer over the patches of all frames of a clip."""

    capabilities = frozenset({"features", "embed"})

    def __init__(self, config: ViCLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        steps, rows, columns = config.grid
        width, patch = config.width, config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(rows * columns + 1, width))
        self.temporal_positional_embedding = nn.Parameter(torch.empty(1, steps, width))
        self.proj = nn.Parameter(torch.empty(width, config.embed_dim))
        size = (config.tubelet_size, patch, patch)
        self.conv1 = nn.Conv3d(3, width, kernel_size=size, stride=size, bias=False)
        self.ln_pre = CLIPLayerNorm(width)
        self.transformer = CLIPTransformer(
            width,
            config.depth,
            config.num_heads,
            drop_path_rate=config.drop_path_rate,
            activation=config.activation,
            drop_path_axis=config.drop_path_axis,
        )
        self.ln_post = CLIPLayerNorm(width)
        self.drop = nn.Dropout(config.head_drop_rate)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights as CLIP does; the temporal positions start at zero."""
        scale = self.config.width**-0.5
        for table in (self.class_embedding, self.positional_embedding, self.proj):
            nn.init.normal_(table, std=scale)
        nn.init.zeros_(self.temporal_positional_embedding)
        self.conv1.reset_parameters()
        self.ln_pre.reset_parameters()
        self.transformer.reset_parameters()
        self.ln_post.reset_parameters()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks: the units to checkpoint, compile or shard."""
        yield from self.transformer.block_modules()

    def patch_positions(self, grid: tuple[int, int, int]) -> Float[Tensor, "1 n d"]:
        """Return space plus time positions of the patches of a clip of that grid.

        Another resolution is reached by bicubic interpolation, more time steps by linear
        interpolation, fewer by the first ones; a still (one step) gets the mean over time.
        """
        steps, rows, columns = grid
        space = resize_spatial_positions(self.positional_embedding, (rows, columns))[1:]
        time = self.temporal_positional_embedding
        if steps == 1:
            time = time.mean(dim=1, keepdim=True)
        elif steps != time.shape[1]:
            time = resize_temporal_positions(time, steps)
        return rearrange(space[None] + rearrange(time, "1 t d -> t 1 d"), "t n d -> 1 (t n) d")

    def forward_features(
        self,
        video: Float[Tensor, "b c t y x"],
        *,
        visible: Bool[Tensor, "b n"] | Int[Tensor, "b v"] | None = None,
        layers: Sequence[int] = (),
        changes: BlockChanges | None = None,
    ) -> VideoFeatures:
        """Encode a clip.

        Args:
            video: normalised pixels; any size that the patches divide.
            visible: which patches to encode, as a mask (True = encode, equally many a sample) or as
                indices in the order time, row, column; None encodes all.
            layers: blocks whose patch tokens to return as `hidden`; negative numbers count from the
                end.
            changes: what is put behind blocks, see `run_blocks`; the class token is the first.

        Returns:
            Patch tokens and class token after `ln_post`, not projected; see `project`.

        Raises:
            ValueError: the clip cannot be cut into patches without remainder.
        """
        config = self.config
        size = {"tubelet_size": config.tubelet_size, "patch_size": config.patch_size}
        grid = tubelet_grid(video, **size)
        positions = self.patch_positions(grid)
        visible, back = None if visible is None else visible_index(visible), None
        if self.training and config.drop_path_axis == "positions":
            visible, back = _place_by_place(visible, grid, video)
        if visible is not None:
            positions = take_tokens(positions, visible)
        pixels = cut_tubelets(video, **size, index=visible)
        x = F.linear(pixels.flatten(2), self.conv1.weight.flatten(1)) + positions
        first = self.class_embedding + self.positional_embedding[0]
        x = torch.cat([first.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        x, outputs = run_blocks(self.block_modules(), self.ln_pre(x), layers, changes=changes)
        x = self.ln_post(x)
        tokens, *hidden = (
            y[:, 1:] if back is None else take_tokens(y[:, 1:], back) for y in (x, *outputs)
        )
        return VideoFeatures(tokens=tokens, grid=grid, cls=x[:, 0], hidden=tuple(hidden))

    forward = forward_features

    def project(self, features: VideoFeatures) -> Float[Tensor, "b e"]:
        """Map the class token into the joint space (not normalised)."""
        return self.drop(features.cls) @ self.proj


def _place_by_place(
    visible: Int[Tensor, "b v"] | None, grid: tuple[int, int, int], video: Tensor
) -> tuple[Int[Tensor, "b v"], Int[Tensor, "b v"]]:
    """Return the visible patches sorted by place, then time, and how to undo that.

    COMPAT: so does the reference, and a drop path by positions counts in its sequence.
    """
    t, h, w = grid
    if visible is None:
        visible = torch.arange(t * h * w, device=video.device).expand(video.shape[0], -1)
    order = (visible % (h * w) * t + visible // (h * w)).argsort(dim=1)
    return visible.gather(1, order), order.argsort(dim=1)
