"""The video encoder of UniFormerV2: CLIP on every frame, and a video token (arXiv 2211.09552).

    clip ──► patches of each frame ──► block ──► block ──► … ──► block ──► frame tokens, mean over t
                                         │          │              │                            │
             learnt video token ──► global block ──► global block ──► global block ──► video token ┤
                                                                                               fused

Each frame has a class token and goes through CLIP's image transformer on its own; where asked for,
a *local* relation aggregator in its blocks mixes neighbouring frames. After the chosen blocks a
*global* block lets one token, which is learnt and the same for all clips, attend to the tokens of
all frames. Its answer and the mean class token are balanced channel by channel.

There are no temporal positions and nothing else depends on the number of frames: one set of weights
takes clips of any length. Frames of another resolution get the positions resampled.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; h, w rows and columns
of patches; n = 1 + h·w tokens of a frame, the class token first; d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.clip_init import resize_spatial_positions
from internvideo.models.clip_layers import CLIPBlock, CLIPLayerNorm
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.layers import DropPathAxis, drop_path_rates
from internvideo.models.tubelets import cut_tubelets, tubelet_grid
from internvideo.models.uniformerv2_blocks import GlobalUniBlock, LocalUniBlock, PositionalConv

__all__ = ["SIZES", "LocalMHRAKind", "UniFormerV2", "UniFormerV2Config"]

LocalMHRAKind = Literal["none", "single", "double"]

# With temporal downsampling a patch sees three frames, and every second frame has patches.
_DOWNSAMPLING_KERNEL, _DOWNSAMPLING_STRIDE = 3, 2
_NUM_CHANNELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class UniFormerV2Config:
    """Shape of a `UniFormerV2`.

    Attributes:
        image_size: pixels of the square frames that the model is made for; others work too.
        num_frames: frames that the model is made for; any number works.
        patch_size: pixels of a patch along rows and columns.
        temporal_downsample: patches see three frames, with a step of two (Something-Something).
        width: of the tokens.
        depth: number of blocks.
        num_heads: attention heads of a block; they divide `width`.
        global_layers: blocks, counted from 0 and in increasing order, after which the video token
            attends to all frames. All released models have them at the end.
        global_heads: attention heads of the global blocks; None: as many as a block has.
        global_mlp_ratio: width inside the MLP of a global block over `width`.
        local_mhra: local relation aggregators of a block: none, one before the attention
            ("single"), or another one before the MLP too ("double", Something-Something).
        local_reduction: `width` over the channels inside a local relation aggregator.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        global_drop_path_rate: the same of the global blocks.
        drop_path_axis: what stochastic depth drops: the branch of single clips, or as the reference
            does that of single token positions, the same in all frames of the batch ("positions";
            of a global block that of the whole batch). Local relations are dropped by clips always.
        global_drop_rate: dropout inside the MLP of the global blocks.
        frozen: the blocks and what comes before them stay as they are, and the video token alone is
            the feature: there is no balance with the class tokens.
    """

    image_size: int = 224
    num_frames: int = 8
    patch_size: int = 16
    temporal_downsample: bool = False
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    global_layers: tuple[int, ...] = (8, 9, 10, 11)
    global_heads: int | None = None
    global_mlp_ratio: float = 4.0
    local_mhra: LocalMHRAKind = "none"
    local_reduction: float = 1.5
    drop_path_rate: float = 0.0
    global_drop_path_rate: float = 0.0
    drop_path_axis: DropPathAxis = "clips"
    global_drop_rate: float = 0.5
    frozen: bool = False

    def __post_init__(self) -> None:
        for heads in (self.num_heads, self.global_heads or self.num_heads):
            if self.width % heads:
                raise ValueError(f"width {self.width} is not a multiple of the {heads} heads")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        layers = self.global_layers
        if not layers or tuple(sorted(set(layers))) != layers or layers[0] < 0:
            raise ValueError(f"global_layers {layers} must be at least one, in increasing order")
        if layers[-1] >= self.depth:
            raise ValueError(
                f"global_layers {layers} name a block that is not among 0 to {self.depth - 1}"
            )
        if self.local_mhra not in get_args(LocalMHRAKind):
            raise ValueError(
                f"local_mhra {self.local_mhra!r} is not one of 'none', 'single', 'double'"
            )
        if not 1 <= self.local_reduction <= self.width:
            raise ValueError(f"local_reduction {self.local_reduction} is not in 1 to {self.width}")

    @property
    def tubelet_size(self) -> int:
        """Frames from one time step of the tokens to the next."""
        return _DOWNSAMPLING_STRIDE if self.temporal_downsample else 1

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens in time, rows and columns of the clip that the model is made for."""
        side = self.image_size // self.patch_size
        return -(-self.num_frames // self.tubelet_size), side, side

    @property
    def local_channels(self) -> int:
        """Channels inside a local relation aggregator."""
        return int(self.width // self.local_reduction)

    @property
    def global_mlp_hidden(self) -> int:
        """Width inside the MLP of a global block."""
        return round(self.width * self.global_mlp_ratio)


class UniFormerV2Transformer(nn.Module):
    """The blocks, the global blocks beside them and the video token; names as in the files."""

    def __init__(self, config: UniFormerV2Config) -> None:
        super().__init__()
        width, num_global = config.width, len(config.global_layers)
        self.global_layers = config.global_layers
        self.resblocks = nn.ModuleList(
            _block(config, rate) for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.temporal_cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.dpe = nn.ModuleList(PositionalConv(width) for _ in range(num_global))
        self.dec = nn.ModuleList(
            GlobalUniBlock(
                width,
                config.global_heads or config.num_heads,
                config.global_mlp_hidden,
                drop_rate=config.global_drop_rate,
                drop_path=rate,
                drop_path_axis=config.drop_path_axis,
            )
            for rate in drop_path_rates(config.global_drop_path_rate, num_global)
        )
        self.balance = None if config.frozen else nn.Parameter(torch.empty(width))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights anew; every global block starts as the identity."""
        modules: list[Any] = [*self.dpe, *self.dec]
        for module in modules:
            module.reset_parameters()
        blocks: list[Any] = [*self.resblocks]
        for block in blocks:
            block.reset_parameters(depth=len(blocks))
        nn.init.zeros_(self.temporal_cls_token)
        if self.balance is not None:
            nn.init.zeros_(self.balance)

    def forward(
        self, x: Float[Tensor, "b t n d"], grid: tuple[int, int], wanted: Sequence[int] = ()
    ) -> tuple[Float[Tensor, "b t n d"], Float[Tensor, "b d"], dict[int, Tensor]]:
        """Return the tokens of the last block, the fused feature, and the tokens asked for.

        Args:
            x: embedded tokens.
            grid: rows and columns of patches of a frame.
            wanted: blocks whose tokens to return too.
        """
        outputs: dict[int, Tensor] = {}
        video_token = self.temporal_cls_token.to(x.dtype).expand(x.shape[0], -1, -1)
        stages = iter(zip(self.dpe, self.dec, strict=True))
        for index, block in enumerate(self.resblocks):
            x = block(x)
            if index in wanted:
                outputs[index] = x
            if index in self.global_layers:
                positional, attend = next(stages)
                # A copy: what the positions add is for the video token alone.
                video_token = attend(video_token, positional(x, grid).flatten(1, 2))
        feature = video_token[:, 0]
        if self.balance is not None:
            frames = x[:, :, 0].mean(dim=1)
            feature = torch.lerp(feature, frames, self.balance.sigmoid().to(feature.dtype))
        return x, feature, outputs


def _block(config: UniFormerV2Config, drop_path: float) -> CLIPBlock:
    axis = config.drop_path_axis
    if config.local_mhra == "none":
        return CLIPBlock(config.width, config.num_heads, drop_path=drop_path, drop_path_axis=axis)
    return LocalUniBlock(
        config.width,
        config.num_heads,
        config.local_channels,
        double=config.local_mhra == "double",
        drop_path=drop_path,
        drop_path_axis=axis,
    )


class UniFormerV2(VideoEncoder, nn.Module):
    """The encoder; call it with a normalised clip.

    Example:
        >>> model = UniFormerV2(SIZES["b16"]).eval()
        >>> features = model(torch.randn(1, 3, 8, 224, 224))
        >>> features.cls.shape, features.tokens.shape, features.frame_cls.shape
        (torch.Size([1, 768]), torch.Size([1, 1568, 768]), torch.Size([1, 8, 768]))
    """

    capabilities = frozenset({"features", "embed"})
    config: UniFormerV2Config
    # All matrices and tables decay in the published recipes, positions and video token included.
    undecayed_names: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: UniFormerV2Config) -> None:
        super().__init__()
        self.config = config
        _, rows, columns = config.grid
        width, patch = config.width, config.patch_size
        kernel = (_DOWNSAMPLING_KERNEL if config.temporal_downsample else 1, patch, patch)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(rows * columns + 1, width))
        self.conv1 = nn.Conv3d(_NUM_CHANNELS, width, kernel_size=kernel, bias=False)
        self.ln_pre = CLIPLayerNorm(width)
        self.transformer = UniFormerV2Transformer(config)
        self.reset_parameters()
        if config.frozen:
            self._freeze()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights as CLIP does; the global blocks start without an effect."""
        scale = self.config.width**-0.5
        for table in (self.class_embedding, self.positional_embedding):
            nn.init.normal_(table, std=scale)
        self.conv1.reset_parameters()
        self.ln_pre.reset_parameters()
        self.transformer.reset_parameters()

    def _freeze(self) -> None:
        self.class_embedding.requires_grad_(False)
        self.positional_embedding.requires_grad_(False)
        for module in (self.conv1, self.ln_pre, self.transformer.resblocks):
            module.requires_grad_(False)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks: the units to checkpoint, compile or shard."""
        yield from self.transformer.resblocks

    def embed_patches(
        self, video: Float[Tensor, "b c t y x"]
    ) -> tuple[Float[Tensor, "b k n d"], tuple[int, int, int]]:
        """Return the tokens of each time step before the first block, and their grid.

        Raises:
            ValueError: the frames cannot be cut into patches without remainder.
        """
        config, (kernel, patch, _) = self.config, self.conv1.kernel_size
        if config.temporal_downsample:
            padding = _DOWNSAMPLING_KERNEL // 2
            padded = F.pad(video, (0, 0, 0, 0, padding, padding))
            steps = padded.unfold(2, _DOWNSAMPLING_KERNEL, _DOWNSAMPLING_STRIDE)
            video = rearrange(steps, "b c t y x k -> b c (t k) y x")
        t, h, w = grid = tubelet_grid(video, tubelet_size=kernel, patch_size=patch)
        pixels = cut_tubelets(video, tubelet_size=kernel, patch_size=patch).flatten(2)
        positions = resize_spatial_positions(self.positional_embedding, (h, w))
        patches = F.linear(pixels, self.conv1.weight.flatten(1))
        x = patches.unflatten(1, (t, h * w)) + positions[1:].to(patches.dtype)
        first = (self.class_embedding + positions[0]).to(x.dtype)
        return self.ln_pre(torch.cat([first.expand(x.shape[0], t, 1, -1), x], dim=2)), grid

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode a clip.

        Args:
            video: normalised pixels; any number of frames, and any size that the patches divide.
            layers: blocks whose patch tokens to return as `hidden`; negative numbers count from the
                end.

        Returns:
            Patch tokens (`tokens`) and class tokens (`frame_cls`) of the last block, without a
            norm; `cls` is the fused feature of the clip, or the video token where the model is
            frozen.

        Raises:
            ValueError: the frames cannot be cut into patches without remainder.
        """
        wanted = [range(self.config.depth)[layer] for layer in layers]
        x, grid = self.embed_patches(video)
        x, feature, outputs = self.transformer(x, grid[1:], wanted)
        return VideoFeatures(
            tokens=x[:, :, 1:].flatten(1, 2),
            grid=grid,
            cls=feature,
            hidden=tuple(outputs[index][:, :, 1:].flatten(1, 2) for index in wanted),
            frame_cls=x[:, :, 0],
        )

    forward = forward_features


def _something_something(base: UniFormerV2Config, num_global: int) -> UniFormerV2Config:
    return replace(
        base,
        num_frames=16,
        global_layers=tuple(range(base.depth - num_global, base.depth)),
        temporal_downsample=True,
        local_mhra="double",
    )


_B16 = UniFormerV2Config()
_L14 = UniFormerV2Config(
    patch_size=14, width=1024, depth=24, num_heads=16, global_layers=(20, 21, 22, 23)
)

SIZES: dict[str, UniFormerV2Config] = {
    "b16": _B16,
    "l14": _L14,
    "l14-336": replace(_L14, image_size=336),
    "l14-336-frozen": replace(_L14, image_size=336, frozen=True),
    "b16-ssv": _something_something(_B16, 8),
    "l14-ssv": _something_something(_L14, 16),
}
"""The released sizes; those for Something-Something relate neighbouring frames in every block."""
