"""Temporal action localisation: when which action happens in an untrimmed video.

task         what is trained: labels of points, losses; sequences: windows of videos
video_task   the same from frames; video_detector: a detector with the encoder of its rows
answering    measure what a finder finds, and write it down to be handed in
protocol     overlaps and rules; measure: from found and true segments to a report
external     classes of whole videos for detectors that know none
evaluate     a model, or a file of predictions; predict: in a user's videos
"""

from __future__ import annotations

from internvideo.tasks.task import PLOT, Objective, Task
from internvideo.tasks.temporal_localization import evaluate, predict, task, video_task
from internvideo.tasks.temporal_localization.video_detector import VIDEO_DETECTOR

__all__ = ["TASK"]

TASK = Task(
    name="temporal-localization",
    verb="moments",
    objectives=(
        Objective(
            config=task.LocalizationConfig,
            models=("actionformer",),
            build=task.build,
            clips=task.prepared_videos,
            measure=evaluate.measure,
        ),
        Objective(
            config=video_task.VideoLocalizationConfig,
            models=(VIDEO_DETECTOR.id,),
            build=video_task.build,
            clips=video_task.checked,
            measure=evaluate.measure,
        ),
    ),
    architectures=(VIDEO_DETECTOR,),
    open=evaluate.open_untrimmed,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    evaluate_examples=(
        "runs/thumos14 -d thumos14.json --split test --features th14_mae_h --feature-stride 4",
        "--predictions detections.json -d activity_net.v1-3.json --split validation",
        "--predictions detections.json -d thumos14/annotation --split test --details",
        "moments-nano -d world/annotation --split test --features f --baseline videomae-nano",
    ),
    predict=predict.predict,
    predict_examples=(
        "film.mp4 --plot moments.png",
        "films/ -m runs/thumos14 --threshold 0.5 --json",
        "film.mp4 --cut clips/",
    ),
    default_model=predict.DEFAULT_DETECTOR,
    files=(PLOT, predict.CLIPS),
)
