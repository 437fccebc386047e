"""Action recognition with the student of an unmasked teacher (UMT, Li et al., 2023).

    clip ──► VideoViT over single frames' patches ──► mean ──► LayerNorm ──► linear ──► logits

The network is that of `VideoClassifier`; what differs are its defaults. A tubelet is one frame, so
8 frames of 224 pixels are 1568 tokens, and the position table of exactly these is fitted to any
other clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig

__all__ = ["SIZES", "UMTClassifier", "UMTClassifierConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UMTClassifierConfig(VideoClassifierConfig):
    """Shape of a `UMTClassifier`.

    Attributes:
        num_frames: frames that the model is made for; others work too.
        tubelet_size: frames of a tubelet.
        positions: "umt", see `VideoViTConfig`.
    """

    num_frames: int = 8
    tubelet_size: int = 1
    positions: Literal["direct", "base-grid", "learnable", "umt"] = "umt"


class UMTClassifier(VideoClassifier):
    """Video classifier; call it with a normalised clip to get the logits of its classes.

    Example:
        >>> from dataclasses import replace
        >>> model = UMTClassifier(replace(SIZES["b16"], num_classes=10, depth=1))
        >>> model(torch.randn(1, 3, 8, 224, 224)).shape
        torch.Size([1, 10])
    """

    config: UMTClassifierConfig


SIZES: dict[str, UMTClassifierConfig] = {
    "b16": UMTClassifierConfig(num_classes=400, width=768, depth=12, num_heads=12),
    "l16": UMTClassifierConfig(num_classes=400, width=1024, depth=24, num_heads=16),
}
"""The published sizes for the 400 classes of Kinetics-400; `dataclasses.replace` makes others."""
