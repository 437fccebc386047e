"""Moment queries: when in a clip do the moments of each class happen?

baseline     from candidates to answers as Ego4D's baseline does it
submission   answers as the file that the challenge takes
finding      moments without training, by the names of classes
report       average mAP, recall@kx; evaluate: a model, or a file of answers

Detectors are trained by the objective `localization` of temporal localisation.
"""

from __future__ import annotations

from internvideo.tasks.moment_queries import evaluate
from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(
    name="moment-queries",
    open=evaluate.open_moments,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    evaluate_examples=(
        "runs/mq/best -d moments_val.json --features egovlp/ --out results/",
        "runs/mq/best -d moments_val.json --features a/ --features b/ --post-processing ego4d",
        "--predictions submission.json -d moments_val.json",
    ),
)
