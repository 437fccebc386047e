"""A detector with the encoder of its features: from the frames of a video to candidates.

    frames ─► windows of frames ─► VideoViT ─► a row each ─► ActionFormer ─► candidates

A row is what `internvideo extract` writes of a window with this encoder (`pooled`); a frozen
encoder stays in evaluation mode and gets no gradient.

Shapes: b batch, c channels, f frames of a video, n of a window, (y, x) rows and columns; t windows,
m windows of a batch, d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.errors import CheckpointError
from internvideo.models.actionformer import ActionFormer, Candidates
from internvideo.models.actionformer_config import ActionFormerConfig
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.vit import VideoViT, VideoViTConfig
from internvideo.train.optim import UNDECAYED_NAMES
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import Shapes

__all__ = ["VIDEO_DETECTOR", "VideoDetector", "VideoDetectorConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoDetectorConfig:
    """Shape of a `VideoDetector`.

    Attributes:
        encoder: of the windows, which are as long as its clips.
        detector: of the rows; `input_dims` is the width of the encoder.
        stride: frames from window to window.
        frozen: whether the encoder stays as it is.
    """

    encoder: VideoViTConfig
    detector: ActionFormerConfig
    stride: int = 8
    frozen: bool = True

    def __post_init__(self) -> None:
        if self.detector.input_dims != (self.encoder.width,):
            raise ValueError(
                f"detector.input_dims {self.detector.input_dims} must be the width of the encoder, "
                f"({self.encoder.width},)"
            )
        if self.stride < 1:
            raise ValueError(f"stride {self.stride} must be at least 1")

    @property
    def num_classes(self) -> int:
        """Classes that are found."""
        return self.detector.num_classes

    @property
    def window(self) -> int:
        """Frames of a window."""
        return self.encoder.num_frames

    def num_frames(self, num_rows: int) -> int:
        """Return the frames that so many rows see."""
        return (num_rows - 1) * self.stride + self.window


class VideoDetector(VideoEncoder, nn.Module):
    """Detector on frames; as a video encoder, it encodes single windows."""

    capabilities = frozenset({"features", "embed", "video-moments"})
    undecayed_names = UNDECAYED_NAMES | ActionFormer.undecayed_names

    def __init__(self, config: VideoDetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VideoViT(config.encoder).requires_grad_(not config.frozen)
        self.detector = ActionFormer(config.detector)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.encoder.reset_parameters()
        self.detector.reset_parameters()

    def reset_buffers(self) -> None:
        """Make the position tables."""
        self.encoder.reset_buffers()
        self.detector.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of both parts."""
        yield from self.encoder.block_modules()
        yield from self.detector.block_modules()

    def train(self, mode: bool = True) -> VideoDetector:
        """Set the mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.config.frozen:
            self.encoder.eval()
        return self

    def forward_features(
        self, video: Float[Tensor, "b c n y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode single windows; see `VideoViT.forward_features`."""
        return self.encoder.forward_features(video, layers=layers)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor]:
        """Return random videos of a third of the training length."""
        frames = self.config.num_frames(self.config.detector.max_length // 3)
        (clip,) = self.encoder.example_inputs(batch)
        return (torch.randn(*clip.shape[:2], frames, *clip.shape[3:]),)

    def rows(self, windows: Float[Tensor, "m c n y x"]) -> Float[Tensor, "m d"]:
        """Return a row for each window, without gradient where the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            return self.encoder.pooled(windows)

    def forward(
        self, video: Float[Tensor, "b c f y x"], valid: Bool[Tensor, "b t"] | None = None
    ) -> Candidates:
        """Return scores and boundaries of every position.

        Args:
            video: normalised frames; those behind the last whole window are not looked at.
            valid: windows that are no padding; None: all.
        """
        windows = video.unfold(2, self.config.window, self.config.stride)  # b c t y x n
        rows = self.rows(rearrange(windows, "b c t y x n -> (b t) c n y x"))
        return self.detector(rearrange(rows, "(b t) d -> b t d", b=len(video)), valid)


def _infer(shapes: Shapes, base: Any) -> Any:
    raise CheckpointError("a detector on frames needs its config.json; give its folder")


_ENCODER = VideoViTConfig(
    image_size=32, num_frames=8, patch_size=16, tubelet_size=2, width=64, depth=2, num_heads=2
)
_NANO = VideoDetectorConfig(
    encoder=_ENCODER,
    detector=ActionFormerConfig(
        input_dims=(64,), width=64, head_width=64, num_heads=2, windows=(9,), num_branch=4,
        max_length=128,
    ),
)  # fmt: skip
_TINY = VideoDetectorConfig(
    encoder=replace(_ENCODER, num_frames=4, width=16, depth=1),
    detector=replace(
        _NANO.detector, input_dims=(16,), num_classes=3, width=16, head_width=16, num_stem=1,
        num_branch=2, max_length=24, windows=(5,),
    ),
    stride=2,
    frozen=False,
)  # fmt: skip

VIDEO_DETECTOR = Architecture(
    id="actionformer/video",
    model=VideoDetector,
    config=VideoDetectorConfig,
    sizes={"nano": _NANO},
    tiny={"tuned": _TINY},
    tables={"official": SAME_NAMES},
    infer=_infer,
    traits=lambda config: {"width": config.encoder.width, "stride": config.stride},
    preset="nano",
)
"""Of this room alone: nobody has released one."""
