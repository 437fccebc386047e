"""What the library answers: plain dataclasses with `to_json()`, a Rich table, and `plot()`."""

from __future__ import annotations

from internvideo.results.captioning import CaptionedVideo, CaptioningReport
from internvideo.results.captions import CaptionSpan, VideoCaptions
from internvideo.results.classification import Classification
from internvideo.results.multiple_choice import ChoiceAnswer, MultipleChoiceReport
from internvideo.results.recognition import RecognitionReport, VideoPrediction
from internvideo.results.timeline import ActionSegment, ActionTimeline, ActionWindow
from internvideo.results.zero_shot import ZeroShotReport

__all__ = [
    "ActionSegment",
    "ActionTimeline",
    "ActionWindow",
    "CaptionSpan",
    "CaptionedVideo",
    "CaptioningReport",
    "ChoiceAnswer",
    "Classification",
    "MultipleChoiceReport",
    "RecognitionReport",
    "VideoCaptions",
    "VideoPrediction",
    "ZeroShotReport",
]
