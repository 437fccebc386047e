"""Temporal action localisation: when which action happens in an untrimmed video.

protocol     overlaps and rules; measure: from found and true segments to a report
external     classes of whole videos for detectors that know none
evaluate     a model, or a file of predictions
"""

from __future__ import annotations

from internvideo.tasks.task import Task
from internvideo.tasks.temporal_localization import evaluate

__all__ = ["TASK"]

TASK = Task(
    name="temporal-localization",
    open=evaluate.open_untrimmed,
    score=evaluate.score,
    evaluate_examples=(
        "--predictions detections.json -d activity_net.v1-3.json --split validation",
        "--predictions detections.json -d thumos14/annotation --split test --details",
    ),
)
