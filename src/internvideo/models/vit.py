"""The video transformer of VideoMAE (Tong et al., 2022): a plain ViT over space-time tubelets.

    clip ──► (conv stem) ──► patch embedding + positions ──► blocks ──► norm ──► VideoFeatures

What is special: joint attention over all tubelets of the clip, no class token, fixed sine-cosine
positions over the flattened token index, and that hidden tokens are never even embedded.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n tokens in the order
time, row, column, of which v are visible; d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.layers import (
    Block,
    BlockChanges,
    drop_path_rates,
    init_module,
    run_blocks,
)
from internvideo.models.positions import resample_positions, sinusoid_table
from internvideo.models.tubelets import cut_tubelets, take_tokens, tubelet_grid, visible_index

__all__ = ["SIZES", "ConvStemConfig", "VideoViT", "VideoViTConfig"]

# The clip on whose grid the "base-grid" position table is defined.
_BASE_FRAMES, _BASE_SIZE = 16, 224
# The grid of the "umt" table: 8 frames of 224 pixels in pretraining, whatever the patches are now.
_UMT_GRID = (8, 14, 14)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvStemConfig:
    """Small convolutions over each frame, before the patch embedding.

    Attributes:
        channels: output channels of each convolution.
        strides: stride of each convolution, 1 or 2.
    """

    channels: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (2, 2, 1)

    def __post_init__(self) -> None:
        if not self.channels or len(self.channels) != len(self.strides):
            raise ValueError(f"channels {self.channels} and strides {self.strides} must pair up")
        if not set(self.strides) <= {1, 2}:
            raise ValueError(f"strides {self.strides} must be 1 or 2")

    @property
    def stride(self) -> int:
        """Pixels of the frame between two places of the map."""
        return prod(self.strides)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoViTConfig:
    """Shape of a `VideoViT`.

    Attributes:
        image_size: pixels of the square frames that the model is made for, or a pair, rows and
            columns, for frames that are not square (a "direct" position table is then of their own
            size); others work too.
        num_frames: frames that the model is made for; others work too.
        patch_size: pixels of a tubelet along rows and columns.
        tubelet_size: frames of a tubelet.
        num_channels: colour channels.
        width: of the tokens.
        depth: number of blocks.
        num_heads: attention heads; they divide `width`.
        mlp_ratio: width inside the MLP over `width`.
        norm_eps: epsilon of every LayerNorm.
        init_values: start of the layer scale; 0 means that there is none.
        cosine_attention: compare directions with a learnt temperature (VideoMAE V2's option).
        drop_rate: dropout of the embedded tokens and of the outputs of attention and MLP.
        attention_drop_rate: dropout of the attention weights.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        positions: where the position table is defined: "direct" on the grid of `image_size` and
            `num_frames` (pretraining, VideoMAE V2), "base-grid" on that of 16 frames of 224 pixels
            (fine-tuned VideoMAE), "learnable" as "direct", but a parameter, "umt" as "direct", but
            for another grid than 8 x 14 x 14 resampled from the table of that one, and stored
            (fine-tuned unmasked teacher). A clip of another grid gets that table resampled, see
            `positions.resample_positions`.
        final_norm: whether a LayerNorm follows the blocks.
        stem: convolutions before the patch embedding; None is the plain ViT.
    """

    image_size: int | tuple[int, int] = 224
    num_frames: int = 16
    patch_size: int = 16
    tubelet_size: int = 2
    num_channels: int = 3
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-6
    init_values: float = 0.0
    cosine_attention: bool = False
    drop_rate: float = 0.0
    attention_drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    positions: Literal["direct", "base-grid", "learnable", "umt"] = "direct"
    final_norm: bool = True
    stem: ConvStemConfig | None = None

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        if self.positions not in ("direct", "base-grid", "learnable", "umt"):
            raise ValueError(
                f"positions {self.positions!r} is not one of 'direct', 'base-grid', 'learnable', "
                "'umt'"
            )
        cut = any(side % self.patch_size for side in self.frame_size)
        if cut or self.num_frames % self.tubelet_size:
            raise ValueError(
                f"image_size {self.image_size} and num_frames {self.num_frames} must be multiples "
                f"of patch_size {self.patch_size} and tubelet_size {self.tubelet_size}"
            )
        if self.stem is not None and self.patch_size % self.stem.stride:
            raise ValueError(
                f"patch_size {self.patch_size} is not a multiple of the stem's stride "
                f"{self.stem.stride}"
            )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens in time, rows and columns of the clip that the model is made for."""
        rows, columns = (side // self.patch_size for side in self.frame_size)
        return self.num_frames // self.tubelet_size, rows, columns

    @property
    def frame_size(self) -> tuple[int, int]:
        """Rows and columns of pixels of the frames that the model is made for."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def position_grid(self) -> tuple[int, int, int]:
        """The grid on which the position table is defined."""
        if self.positions != "base-grid":
            return self.grid
        side = _BASE_SIZE // self.patch_size
        return _BASE_FRAMES // self.tubelet_size, side, side

    @property
    def stores_positions(self) -> bool:
        """Whether the position table is part of the weights."""
        resampled = self.positions == "umt" and self.grid != _UMT_GRID
        return self.positions == "learnable" or resampled

    @property
    def mlp_hidden(self) -> int:
        """Width inside the MLP."""
        return int(self.width * self.mlp_ratio)


class ConvStem(nn.Module):
    """Convolutions over each frame alone, each followed by batch normalisation and ReLU."""

    def __init__(self, num_channels: int, config: ConvStemConfig) -> None:
        super().__init__()
        self.stride = config.stride
        self.layers = nn.Sequential()
        for index, (width, stride) in enumerate(zip(config.channels, config.strides, strict=True)):
            kernel = 4 if index == 0 and stride == 2 else 3
            self.layers += nn.Sequential(
                nn.Conv2d(num_channels, width, kernel, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            num_channels = width

    def forward(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b s t h w"]:
        """Return the map of each frame: s channels at a resolution lower by the stem's stride."""
        maps = self.layers(rearrange(video, "b c t y x -> (b t) c y x"))
        return rearrange(maps, "(b t) s h w -> b s t h w", b=video.shape[0])


class PatchEmbed(nn.Module):
    """A token a tubelet: one linear map of all its values.

    After a stem a second linear map, of the *maximum* of each channel over the tubelet, is added.
    The first branch keeps where something is, so motion stays linear in the tokens; it has to learn
    what something looks like anew at every place. The maximum says what is there wherever it is.

    `proj.weight` has the shape of a convolution (as in every released file) and is applied as a
    matrix product, which is faster and can leave tubelets out.
    """

    def __init__(self, num_channels: int, width: int, size: tuple[int, int, int], *, peaks: bool):
        super().__init__()
        self.proj = nn.Conv3d(num_channels, width, kernel_size=size, stride=size)
        self.max_proj = nn.Linear(num_channels, width, bias=False) if peaks else None

    def forward(self, tubelets: Float[Tensor, "b v c p q q"]) -> Float[Tensor, "b v d"]:
        """Embed each tubelet alone."""
        tokens = F.linear(tubelets.flatten(2), self.proj.weight.flatten(1), self.proj.bias)
        if self.max_proj is not None:
            tokens = tokens + self.max_proj(tubelets.amax(dim=(3, 4, 5)))
        return tokens


class VideoViT(VideoEncoder, nn.Module):
    """Video encoder; call it with a normalised clip to get its `VideoFeatures`.

    Example:
        >>> model = VideoViT(SIZES["S"])
        >>> model(torch.randn(1, 3, 16, 224, 224)).grid
        (8, 14, 14)
    """

    capabilities = frozenset({"features", "embed"})
    linear_init: Callable[[Tensor], Tensor] = staticmethod(nn.init.xavier_uniform_)

    def __init__(self, config: VideoViTConfig) -> None:
        super().__init__()
        self.config = config
        self.stem, channels, shrink = None, config.num_channels, 1
        if config.stem is not None:
            self.stem = ConvStem(channels, config.stem)
            channels, shrink = config.stem.channels[-1], config.stem.stride
        side = config.patch_size // shrink
        self.patch_embed = PatchEmbed(
            channels,
            config.width,
            (config.tubelet_size, side, side),
            peaks=config.stem is not None,
        )
        if config.positions == "learnable":
            self.pos_embed = nn.Parameter(torch.empty(1, prod(config.grid), config.width))
        else:
            # COMPAT: no released file holds a fixed table; those of the unmasked teacher hold it
            # where it was resampled (as a parameter that their forward pass cuts off).
            table = torch.empty(1, prod(config.position_grid), config.width)
            self.register_buffer("pos_embed", table, persistent=config.stores_positions)
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.blocks = nn.ModuleList(
            Block(
                config.width,
                config.num_heads,
                config.mlp_hidden,
                norm_eps=config.norm_eps,
                init_values=config.init_values,
                cosine=config.cosine_attention,
                drop_rate=config.drop_rate,
                attention_drop_rate=config.attention_drop_rate,
                drop_path_rate=rate,
            )
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.norm = (
            nn.LayerNorm(config.width, eps=config.norm_eps) if config.final_norm else nn.Identity()
        )
        VideoViT.reset_parameters(self)  # a subclass has more to reset, once it has built it

    def reset_parameters(self) -> None:
        """Draw all weights anew: Xavier-uniform matrices, zero biases (VideoMAE pretraining)."""
        self.apply(partial(init_module, linear=self.linear_init))
        if self.config.positions == "learnable":
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        else:
            self.pos_embed = self._fixed_positions()

    def reset_buffers(self) -> None:
        """Make the fixed position table, on the device of the weights.

        Needed after a model built on the meta device got weights by `load_state_dict(assign=True)`;
        a table that is part of the weights stays as it is.
        """
        if not self.config.stores_positions:
            self.pos_embed = self._fixed_positions()

    def _fixed_positions(self) -> Float[Tensor, "1 n d"]:
        config, weight = self.config, self.patch_embed.proj.weight
        made_for = _UMT_GRID if config.positions == "umt" else config.position_grid
        table = sinusoid_table(prod(made_for), config.width, device=weight.device)
        return resample_positions(table, made_for, config.position_grid).to(weight.dtype)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks: the units to checkpoint, compile or shard."""
        yield from self.blocks

    def positions(self, grid: tuple[int, int, int]) -> Float[Tensor, "1 n d"]:
        """Return the position table for a clip of that many tokens in time, rows and columns."""
        if grid == self.config.position_grid:
            return self.pos_embed
        return resample_positions(self.pos_embed, self.config.position_grid, grid)

    def fixed_positions(self, grid: tuple[int, int, int]) -> Float[Tensor, "1 n d"]:
        """Return the same without anything learnt: a decoder keeps the sine-cosine table."""
        config = self.config
        if config.positions != "learnable":
            return self.positions(grid)
        table = sinusoid_table(prod(config.grid), config.width, device=self.pos_embed.device)
        if grid != config.grid:
            table = resample_positions(table, config.grid, grid)
        return table.to(self.pos_embed.dtype)

    def embed_patches(
        self, video: Float[Tensor, "b c t y x"], *, visible: Int[Tensor, "b v"] | None = None
    ) -> Float[Tensor, "b v d"]:
        """Return the tokens before the first block: embedded tubelets plus positions."""
        config, patch_size = self.config, self.config.patch_size
        grid = tubelet_grid(video, tubelet_size=config.tubelet_size, patch_size=patch_size)
        positions = self.positions(grid)
        if visible is not None:
            positions = take_tokens(positions, visible)
        if self.stem is not None:
            if visible is not None and grid[1:] == (1, 1):
                # A token is all there is of its frames: hidden frames need not enter the stem.
                video, visible = _select_frames(video, visible, config.tubelet_size), None
            video, patch_size = self.stem(video), patch_size // self.stem.stride
        tubelets = cut_tubelets(
            video, tubelet_size=config.tubelet_size, patch_size=patch_size, index=visible
        )
        tokens = self.patch_embed(tubelets)
        return self.pos_drop(tokens + positions.to(tokens.dtype))

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
            video: normalised pixels; any size that the tubelets divide.
            visible: which tokens to encode, as a mask (True = encode, equally many a sample) or as
                indices; the others cost nothing. None encodes all.
            layers: blocks whose outputs to return as `hidden`; negative numbers count from the end.
            changes: what is put behind blocks, see `run_blocks`.

        Raises:
            ValueError: the clip cannot be cut into tubelets without remainder.
        """
        config = self.config
        index = None if visible is None else visible_index(visible)
        x = self.embed_patches(video, visible=index)
        x, hidden = run_blocks(self.blocks, x, layers, changes=changes)
        return VideoFeatures(
            tokens=self.norm(x),
            grid=tubelet_grid(
                video, tubelet_size=config.tubelet_size, patch_size=config.patch_size
            ),
            hidden=hidden,
        )

    def example_inputs(self, batch: int = 2) -> tuple[Tensor]:
        """Return random clips."""
        config = self.config
        shape = (config.num_channels, config.num_frames, *config.frame_size)
        return (torch.randn(batch, *shape),)

    forward = forward_features


def _select_frames(video: Tensor, index: Tensor, tubelet_size: int) -> Tensor:
    """Return the clip of only those tubelets of frames: "b c (v p) y x"."""
    steps = rearrange(video, "b c (t p) y x -> b t c p y x", p=tubelet_size)
    return rearrange(take_tokens(steps, index), "b v c p y x -> b c (v p) y x")


SIZES: dict[str, VideoViTConfig] = {
    "S": VideoViTConfig(width=384, depth=12, num_heads=6),
    "B": VideoViTConfig(width=768, depth=12, num_heads=12),
    "L": VideoViTConfig(width=1024, depth=24, num_heads=16),
    "H": VideoViTConfig(width=1280, depth=32, num_heads=16),
    "g": VideoViTConfig(width=1408, depth=40, num_heads=16, mlp_ratio=48 / 11, patch_size=14),
    "G": VideoViTConfig(width=1664, depth=48, num_heads=16, mlp_ratio=64 / 13, patch_size=14),
}
"""The published sizes, small to gigantic, for 16 frames of 224 pixels."""
