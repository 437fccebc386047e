"""VideoMAE (Tong et al., 2022) and VideoMAE V2 (Wang et al., 2023): masked autoencoding of video.

    clip ──► encoder, visible tokens only ──► linear ──┐
                          mask token at hidden places ─┴─► + positions ──► decoder ──► pixels

V2's dual masking lets the decoder reconstruct a part of the places only.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n tokens, of which v
are visible and m are reconstructed; k values to predict a token; d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models import vit
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.layers import Block, drop_path_rates, init_module
from internvideo.models.positions import resample_positions, sinusoid_table
from internvideo.models.reconstruction_targets import motion_target, pixel_target, split_motion
from internvideo.models.tubelets import (
    TokenSplit,
    blank_tubelets,
    divide_tubelets,
    split_mask,
    take_tokens,
    tubelet_grid,
)
from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = [
    "SIZES",
    "VideoMAE",
    "VideoMAEConfig",
    "VideoMAEOutput",
    "motion_target",
    "pixel_target",
    "split_motion",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoMAEConfig:
    """Shape of a `VideoMAE`.

    Attributes:
        encoder: the video transformer that is pretrained.
        decoder_width: width of the decoder's tokens.
        decoder_depth: blocks of the decoder.
        decoder_num_heads: attention heads of the decoder.
        target: what a token predicts: "normalized" pixels (each tubelet and channel standardised),
            raw "pixels" in [0, 1], or "motion" (see `motion_target`).
        target_size: side in pixels to which the frames are shrunk for the "motion" target; None
            keeps the size of the clip.
        mask_patch_size: pixels of a masked place along rows and columns, where that is less than
            the patch of a token. A token cannot be left out in part, so hidden places are blanked
            in the clip, all tokens are encoded, and each predicts its hidden places. None: a mask
            hides tokens.
        pixel_mean: mean that the clips were normalised with, a number a channel.
        pixel_std: standard deviation that the clips were normalised with.
    """

    encoder: VideoViTConfig
    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_num_heads: int = 6
    target: Literal["normalized", "pixels", "motion"] = "normalized"
    target_size: int | None = None
    mask_patch_size: int | None = None
    pixel_mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    pixel_std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.decoder_width % self.decoder_num_heads:
            raise ValueError(
                f"decoder_width {self.decoder_width} is not a multiple of decoder_num_heads "
                f"{self.decoder_num_heads}"
            )
        if self.decoder_depth < 1:
            raise ValueError(f"decoder_depth {self.decoder_depth} must be at least 1")
        if self.target not in ("normalized", "pixels", "motion"):
            raise ValueError(
                f"target {self.target!r} is not one of 'normalized', 'pixels', 'motion'"
            )
        if self.encoder.patch_size % self.mask_patch:
            raise ValueError(
                f"mask_patch_size {self.mask_patch} does not divide the patch_size "
                f"{self.encoder.patch_size} of the encoder"
            )
        if self.target_size is None:
            return
        if self.target != "motion":
            raise ValueError(f"target_size needs target 'motion', not {self.target!r}")
        size, rows = self.encoder.image_size, self.mask_grid[1]
        if not isinstance(size, int):
            raise ValueError(f"target_size needs square frames, image_size is {size}")
        if size % self.target_size or self.target_size % rows:
            raise ValueError(
                f"target_size {self.target_size} must divide image_size {size} and be a multiple "
                f"of the {rows} rows of the mask"
            )

    @property
    def mask_patch(self) -> int:
        """Pixels of a place that is hidden or not, along rows and columns."""
        return self.mask_patch_size or self.encoder.patch_size

    @property
    def mask_grid(self) -> tuple[int, int, int]:
        """Places of a mask in time, rows and columns of the clip that the model is made for."""
        rows, columns = self.encoder.frame_size
        return self.encoder.grid[0], rows // self.mask_patch, columns // self.mask_patch

    @property
    def shrink(self) -> int:
        """Pixels of the clip along one pixel of the target."""
        return self.encoder.frame_size[0] // (self.target_size or self.encoder.frame_size[0])

    @property
    def target_width(self) -> int:
        """Values to predict a token."""
        side = self.encoder.patch_size // self.shrink
        return self.encoder.num_channels * self.encoder.tubelet_size * side * side


@dataclass(frozen=True, slots=True)
class VideoMAEOutput:
    """Result of one masked-autoencoding step.

    Attributes:
        loss: mean squared error over the hidden tokens.
        prediction: predicted values of the reconstructed tokens.
        target: true values of the same tokens, float32.
        index: which tokens these are, in increasing order.
        weight: 1 where a reconstructed token was hidden from the encoder (with one mask:
            everywhere); the others do not count in the loss.
    """

    loss: Float[Tensor, ""]
    prediction: Float[Tensor, "b m k"]
    target: Float[Tensor, "b m k"]
    index: Int[Tensor, "b m"]
    weight: Float[Tensor, "b m"]


class Decoder(nn.Module):
    """Light transformer that turns tokens into the values of their tubelets.

    Its blocks have the options of the encoder's: norms, dropout, and a drop path that grows anew.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        encoder = config.encoder
        self.blocks = nn.ModuleList(
            Block(
                config.decoder_width,
                config.decoder_num_heads,
                int(config.decoder_width * encoder.mlp_ratio),
                norm_eps=encoder.norm_eps,
                init_values=encoder.init_values,
                cosine=encoder.cosine_attention,
                drop_rate=encoder.drop_rate,
                attention_drop_rate=encoder.attention_drop_rate,
                drop_path_rate=rate,
            )
            for rate in drop_path_rates(encoder.drop_path_rate, config.decoder_depth)
        )
        self.norm = nn.LayerNorm(config.decoder_width, eps=encoder.norm_eps)
        self.head = nn.Linear(config.decoder_width, config.target_width)

    def forward(self, x: Float[Tensor, "b n d"], *, num_last: int) -> Float[Tensor, "b m k"]:
        """Return the predictions of the last `num_last` tokens."""
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        # Of the last block the other tokens are wanted as keys and values only.
        return self.head(self.norm(last(x, num_last)))


class VideoMAE(VideoEncoder, nn.Module):
    """Masked autoencoder of video; call it with normalised clips and a mask to get the loss.

    Example:
        >>> model = VideoMAE(SIZES["S"])
        >>> mask = torch.rand(1, 8 * 14 * 14).argsort(dim=1) < 1408  # True = hidden
        >>> output = model(torch.randn(1, 3, 16, 224, 224), mask)
        >>> output.prediction.shape
        torch.Size([1, 1408, 1536])
        >>> output.loss.backward()
    """

    capabilities = frozenset({"features", "embed"})

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VideoViT(config.encoder)
        self.encoder_to_decoder = nn.Linear(config.encoder.width, config.decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.decoder_width))
        self.decoder = Decoder(config)
        table = torch.empty(1, prod(config.encoder.grid), config.decoder_width)
        self.register_buffer("decoder_positions", table, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, as the papers do."""
        self.encoder.reset_parameters()
        self.decoder.apply(partial(init_module, linear=nn.init.xavier_uniform_))
        self.encoder_to_decoder.reset_parameters()
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.reset_buffers()

    def reset_buffers(self) -> None:
        """Make the fixed position tables, on the device of the weights."""
        self.encoder.reset_buffers()
        self.decoder_positions = sinusoid_table(
            prod(self.config.encoder.grid),
            self.config.decoder_width,
            device=self.mask_token.device,
        ).to(self.mask_token.dtype)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of encoder and decoder: the units to checkpoint, compile or shard."""
        yield from self.encoder.blocks
        yield from self.decoder.blocks

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode a whole clip without the decoder; see `VideoViT.forward_features`."""
        return self.encoder.forward_features(video, layers=layers)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, TokenSplit]:
        """Return random clips, and every second place of them as hidden."""
        places = torch.arange(prod(self.config.mask_grid)).expand(batch, -1)
        split = TokenSplit(places[:, ::2].contiguous(), places[:, 1::2].contiguous())
        return (*self.encoder.example_inputs(batch), split)

    def decode(
        self,
        tokens: Float[Tensor, "b v d"],
        split: TokenSplit,
        *,
        index: Int[Tensor, "b m"],
        grid: tuple[int, int, int],
    ) -> Float[Tensor, "b m k"]:
        """Predict the values of the tokens at `index` from the encoded visible tokens."""
        positions = self.decoder_positions
        if grid != self.config.encoder.grid:
            positions = resample_positions(positions, self.config.encoder.grid, grid)
        # Attention does not care for order, so the tokens need not go back to their places.
        seen = self.encoder_to_decoder(tokens)
        seen = seen + take_tokens(positions, split.visible).to(seen.dtype)
        hidden = (self.mask_token + take_tokens(positions, index)).to(seen.dtype)
        return self.decoder(torch.cat([seen, hidden], dim=1), num_last=index.shape[1])

    def fill(
        self,
        video: Float[Tensor, "b c t y x"],
        split: TokenSplit,
        *,
        index: Int[Tensor, "b m"],
        grid: tuple[int, int, int],
    ) -> Float[Tensor, "b m k"]:
        """Predict the values of the places at `index` from the clip whose masked places are blank.

        `split` and `index` count places of `mask_patch_size`, `grid` the tokens.
        """
        config, encoder = self.config, self.config.encoder
        blanked = blank_tubelets(
            video,
            split.masked,
            tubelet_size=encoder.tubelet_size,
            patch_size=config.mask_patch,
        )
        every = torch.arange(prod(grid), device=video.device).expand(video.shape[0], -1)
        # Mask tokens ask for what the encoded ones know: a token that decoded its own places would
        # complete them from the same frame and learn nothing of time (measured: docs/nano.md).
        values = divide_tubelets(
            self.decode(
                self.encoder(blanked).tokens, TokenSplit(every, every), index=every, grid=grid
            ),
            grid,
            parts=encoder.patch_size // config.mask_patch,
            num_channels=encoder.num_channels,
            tubelet_size=encoder.tubelet_size,
        )
        return take_tokens(values, index)

    def target(
        self, video: Float[Tensor, "b c t y x"], index: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m k"]:
        """Return what the places at `index` should predict."""
        config, encoder = self.config, self.config.encoder
        if config.target == "motion":
            return motion_target(
                video,
                tubelet_size=encoder.tubelet_size,
                patch_size=config.mask_patch,
                shrink=config.shrink,
                index=index,
            )
        return pixel_target(
            video,
            tubelet_size=encoder.tubelet_size,
            patch_size=config.mask_patch,
            normalize=config.target == "normalized",
            mean=config.pixel_mean,
            std=config.pixel_std,
            index=index,
        )

    def forward(
        self,
        video: Float[Tensor, "b c t y x"],
        mask: Bool[Tensor, "b n"] | TokenSplit,
        decoder_mask: Bool[Tensor, "b n"] | TokenSplit | None = None,
    ) -> VideoMAEOutput:
        """Reconstruct the hidden tokens.

        Args:
            video: normalised pixels.
            mask: True = hidden from the encoder; every sample hides equally many. A
                `TokenSplit` (of `split_mask`, called where the mask lies on the CPU) spares the
                device a wait and `torch.compile` a graph break.
            decoder_mask: True = *not* given to the decoder (dual masking); None reconstructs
                exactly what `mask` hides.

        Raises:
            ValueError: the clip cannot be cut into tubelets, or nothing is to be reconstructed.
        """
        encoder = self.config.encoder
        split = mask if isinstance(mask, TokenSplit) else split_mask(mask)
        if decoder_mask is None:
            index = split.masked
        elif isinstance(decoder_mask, TokenSplit):
            index = decoder_mask.visible
        else:
            index = split_mask(decoder_mask).visible
        if index.shape[1] == 0:
            raise ValueError("the mask leaves nothing to reconstruct")
        grid = tubelet_grid(video, tubelet_size=encoder.tubelet_size, patch_size=encoder.patch_size)
        if self.config.mask_patch_size is None:
            features = self.encoder(video, visible=split.visible)
            prediction = self.decode(features.tokens, split, index=index, grid=grid)
        else:
            prediction = self.fill(video, split, index=index, grid=grid)
        target = self.target(video, index)
        num_places = split.visible.shape[1] + split.masked.shape[1]
        weight = _hidden_weight(split, index, num_tokens=num_places)
        # In float32 through the type of the target; keeps one tensor of this size for backward.
        error = torch.linalg.vector_norm(prediction - target, dim=2).square() / target.shape[2]
        return VideoMAEOutput(
            loss=(error * weight).sum() / weight.sum(),
            prediction=prediction,
            target=target,
            index=index,
            weight=weight,
        )


def _hidden_weight(split: TokenSplit, index: Tensor, *, num_tokens: int) -> Tensor:
    """Return 1 for the tokens at `index` that the encoder did not see, else 0."""
    hidden = torch.ones(index.shape[0], num_tokens, device=index.device)
    return hidden.scatter(1, split.visible, 0.0).gather(1, index)


def _size(name: str, width: int, num_heads: int, depth: int) -> VideoMAEConfig:
    return VideoMAEConfig(
        encoder=vit.SIZES[name],
        decoder_width=width,
        decoder_num_heads=num_heads,
        decoder_depth=depth,
    )


SIZES: dict[str, VideoMAEConfig] = {
    "S": _size("S", 192, 3, 4),
    "B": _size("B", 384, 6, 4),
    "L": _size("L", 512, 8, 12),
    "H": _size("H", 512, 8, 8),
    "g": _size("g", 512, 8, 4),
    "G": _size("G", 512, 8, 4),
}
"""The published sizes, decoder depths as in their recipes (VideoMAE V2 has depth 4 throughout)."""
