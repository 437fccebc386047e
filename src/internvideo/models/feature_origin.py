"""Which windows of which encoder a model was trained on that sees features in place of video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FeatureOrigin"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureOrigin:
    """What made the features that a model was trained on, as the manifest of their folder says it.

    Attributes:
        model: name or folder of the encoder.
        window: frames of a row.
        stride: frames from one row to the next.
        fps: frames per second that these are counted at; None counts those of each video.
        layer: block whose tokens are taken; None is the encoder's own feature of a clip.
        pixels: how frames are prepared, see `evaluation.extraction`.
        weights_sha256: checksum of the encoder's weights; empty where unknown.
    """

    model: str
    window: int
    stride: int
    fps: float | None = None
    layer: int | None = None
    pixels: Literal["model", "published"] = "model"
    weights_sha256: str = ""
