"""The student of Unmasked Teacher (Li et al., 2023, arXiv 2303.16058), single-modality stage.

    clip ──► encoder, visible tokens only ──► last k layers ──► norm + positions ──► k decoders
                                                                                        │
    clip ──► frozen CLIP, frame by frame ──► last k layers at the same places ── align ─┘

Nothing is reconstructed: a visible token learns what the teacher (`models.clip_teacher`) knows of
its place, hidden tokens cost nothing. The encoder is that of VideoMAE with tubelets of one frame.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n tokens in the order
time, row, column, of which v are visible; k layers; d width, e width of a target.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models import vit
from internvideo.models.clip_teacher import last_layers
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.layers import init_module
from internvideo.models.tubelets import take_tokens, tubelet_grid, visible_index
from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = [
    "SIZES",
    "AlignmentLoss",
    "FeatureDecoder",
    "UnmaskedTeacher",
    "UnmaskedTeacherConfig",
    "alignment_loss",
]

AlignmentLoss = Literal["cosine", "mse", "smooth-l1"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnmaskedTeacherConfig:
    """Shape of an `UnmaskedTeacher` student.

    Attributes:
        encoder: the video transformer that is pretrained; a tubelet is one frame, as for the
            teacher.
        target_width: width of the teacher's features.
        num_targets: layers of the encoder, counted from the last, that are aligned; one decoder
            each.
        interval: distance of these layers.
        decoder_norm_eps: epsilon of the LayerNorm of the decoders.
    """

    encoder: VideoViTConfig
    target_width: int = 512
    num_targets: int = 6
    interval: float = 1.0
    decoder_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.encoder.tubelet_size != 1:
            raise ValueError(
                f"encoder.tubelet_size is {self.encoder.tubelet_size}: the teacher sees single "
                "frames, so it must be 1"
            )
        if not self.encoder.final_norm:
            raise ValueError("encoder.final_norm must be true: all aligned layers go through it")
        last_layers(self.encoder.depth, self.num_targets, self.interval)

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the aligned layers, in increasing depth."""
        return last_layers(self.encoder.depth, self.num_targets, self.interval)


class FeatureDecoder(nn.Module):
    """From tokens of one layer to the teacher's space: linear, LayerNorm, unit length."""

    def __init__(self, width: int, target_width: int, *, norm_eps: float) -> None:
        super().__init__()
        self.head = nn.Linear(width, target_width)
        self.norm = nn.LayerNorm(target_width, eps=norm_eps)

    def forward(self, x: Float[Tensor, "b v d"]) -> Float[Tensor, "b v e"]:
        """Return unit vectors in float32."""
        return F.normalize(self.norm(self.head(x)).float(), dim=-1)


class UnmaskedTeacher(VideoEncoder, nn.Module):
    """A video encoder with the decoders that align it to an image teacher.

    Example:
        >>> model = UnmaskedTeacher(SIZES["b16"])
        >>> visible = torch.arange(320).expand(1, -1)
        >>> model(torch.randn(1, 3, 8, 224, 224), visible).shape
        torch.Size([6, 1, 320, 512])
    """

    capabilities = frozenset({"features", "embed"})

    def __init__(self, config: UnmaskedTeacherConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VideoViT(config.encoder)
        self.clip_decoder = nn.ModuleList(
            FeatureDecoder(
                config.encoder.width, config.target_width, norm_eps=config.decoder_norm_eps
            )
            for _ in range(config.num_targets)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew: Xavier-uniform matrices, zero biases."""
        self.encoder.reset_parameters()
        self.clip_decoder.apply(partial(init_module, linear=nn.init.xavier_uniform_))

    def reset_buffers(self) -> None:
        """Make the encoder's fixed position table, see `VideoViT.reset_buffers`."""
        self.encoder.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks: the units to checkpoint, compile or shard."""
        yield from self.encoder.block_modules()

    def forward_features(
        self,
        video: Float[Tensor, "b c t y x"],
        *,
        visible: Bool[Tensor, "b n"] | Int[Tensor, "b v"] | None = None,
        layers: Sequence[int] = (),
    ) -> VideoFeatures:
        """Encode a clip without the decoders, see `VideoViT.forward_features`."""
        return self.encoder.forward_features(video, visible=visible, layers=layers)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and every second token of them as visible."""
        visible = torch.arange(0, prod(self.config.encoder.grid), 2).expand(batch, -1)
        return (*self.encoder.example_inputs(batch), visible.contiguous())

    def forward(
        self,
        video: Float[Tensor, "b c t y x"],
        visible: Bool[Tensor, "b n"] | Int[Tensor, "b v"],
    ) -> Float[Tensor, "k b v e"]:
        """Return what the student says of its visible tokens: unit vectors in float32.

        Args:
            video: normalised pixels.
            visible: which tokens are seen, as a mask (True = seen, equally many a sample) or as
                indices.

        Returns:
            For each aligned layer, in increasing depth, the visible tokens.

        Raises:
            ValueError: the clip cannot be cut into patches.
        """
        visible = visible_index(visible)
        hidden = self.encoder.forward_features(
            video, visible=visible, layers=self.config.layers
        ).hidden
        # The decoders' table is the encoder's (width, grid, formula), unless that one is learnt.
        grid = tubelet_grid(video, tubelet_size=1, patch_size=self.config.encoder.patch_size)
        positions = take_tokens(self.encoder.fixed_positions(grid), visible)
        answers = []
        for tokens, decoder in zip(hidden, self.clip_decoder, strict=True):
            tokens = self.encoder.norm(tokens)
            answers.append(decoder(tokens + positions.to(tokens.dtype)))
        return torch.stack(answers)


def alignment_loss(
    student: Float[Tensor, "k b v e"],
    teacher: Float[Tensor, "k b v e"],
    kind: AlignmentLoss = "cosine",
) -> Float[Tensor, ""]:
    """Return how far unit vectors are apart, mean over layers, samples and tokens.

    "cosine" is `2 - 2 cos`, the squared distance; "mse" its mean over the channels; "smooth-l1"
    the mean Huber loss over the channels.

    Raises:
        ValueError: an unknown kind.
    """
    match kind:
        case "cosine":
            return (2 - 2 * (student * teacher).sum(dim=-1)).mean()
        case "mse":
            return F.mse_loss(student, teacher)
        case "smooth-l1":
            return F.smooth_l1_loss(student, teacher)
    raise ValueError(f"loss {kind!r} is not one of 'cosine', 'mse', 'smooth-l1'")


def _encoder(size: str, drop_path_rate: float) -> VideoViTConfig:
    return dataclasses.replace(
        vit.SIZES[size], num_frames=8, tubelet_size=1, drop_path_rate=drop_path_rate
    )


SIZES: dict[str, UnmaskedTeacherConfig] = {
    "b16": UnmaskedTeacherConfig(encoder=_encoder("B", 0.1), target_width=512),
    "l16": UnmaskedTeacherConfig(encoder=_encoder("L", 0.2), target_width=768),
}
"""The published students, for 8 frames of 224 pixels."""
