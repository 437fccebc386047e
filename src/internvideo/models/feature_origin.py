"""Which windows of which encoder a model was trained on that sees features in place of video."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FeatureOrigin"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureOrigin:
    """What made the features that a model was trained on.

    Attributes:
        model: name or folder of the encoder.
        window: frames of a row.
        stride: frames from one row to the next.
        fps: frames per second that these are counted at; None counts those of each video.
        weights: checksum of the encoder's weights; empty where unknown.
    """

    model: str
    window: float
    stride: float
    fps: float | None = None
    weights: str = ""
