"""Spatio-temporal action detection: who does what, in boxes around people at key frames.

boxes, transforms   boxes of pictures, and with the frames of a clip
task, losses        what is trained
finding             a detector asked about boxes; persons: where the boxes come from
metric              the official frame mAP; evaluate, report
predict, answer     tracks in a user's video; drawing: the video with boxes and labels
"""

from __future__ import annotations

from internvideo.tasks.action_detection import evaluate, predict, task
from internvideo.tasks.action_detection.drawing import write_annotated
from internvideo.tasks.task import AnswerFile, Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="action-detection",
    aliases=("ava",),
    verb="detections",
    objectives=(
        Objective(
            config=task.DetectionConfig,
            models=("videomae/action-detection",),
            build=task.build,
            clips=task.checked_clips,
            measure=evaluate.measure,
        ),
    ),
    open=evaluate.open_boxes,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    evaluate_examples=(
        "runs/ava/best -d ava_val_v2.2.csv --root videos/ --persons ava_val_persons.json",
        "--predictions result.csv -d ava_val_v2.2.csv --excluded ava_val_excluded.csv",
    ),
    predict=predict.predict,
    predict_examples=(
        "film.mp4 -m runs/ava/best --video film-actions.mp4",
        "film.mp4 -m runs/ava/best --boxes boxes.json --json > film.json",
    ),
    files=(
        AnswerFile(
            "video",
            "Write the video with boxes and actions here; for several videos, into this folder.",
            ".mp4",
            write_annotated,
        ),
    ),
)
