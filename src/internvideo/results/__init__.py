"""What the library answers: plain dataclasses with `to_json()`, a Rich table, and `plot()`."""

from __future__ import annotations

from internvideo.results.classification import Classification
from internvideo.results.recognition import RecognitionReport, VideoPrediction
from internvideo.results.timeline import ActionSegment, ActionTimeline, ActionWindow

__all__ = [
    "ActionSegment",
    "ActionTimeline",
    "ActionWindow",
    "Classification",
    "RecognitionReport",
    "VideoPrediction",
]
