"""Measure a model on annotated videos.

recipe + checkpoint ─┐
model + list ────────┴─► Subject ────────► measure ─────────────────► RecognitionReport
model + labelled videos + sentences ─────► measure_zero_shot ───────► ZeroShotReport
model + videos with options ─────────────► measure_multiple_choice ─► MultipleChoiceReport
model + captioned videos ────────────────► measure_captioning ──────► CaptioningReport
                                                └──► report.json, predictions.jsonl
"""

from __future__ import annotations

from internvideo.evaluation.captioning import (
    CaptionedVideos,
    captioned_videos,
    captioned_world,
    measure_captioning,
)
from internvideo.evaluation.classifier import (
    Subject,
    measure,
    subject_of_list,
    subject_of_recipe,
)
from internvideo.evaluation.multiple_choice import measure_multiple_choice
from internvideo.evaluation.zero_shot import (
    LabelledVideos,
    labelled_videos,
    measure_zero_shot,
    world_videos,
)

__all__ = [
    "CaptionedVideos",
    "LabelledVideos",
    "Subject",
    "captioned_videos",
    "captioned_world",
    "labelled_videos",
    "measure",
    "measure_captioning",
    "measure_multiple_choice",
    "measure_zero_shot",
    "subject_of_list",
    "subject_of_recipe",
    "world_videos",
]
