"""Future hand prediction of Ego4D: where will the hands be until they touch the object?

reading       annotations and answers of the challenge
losses        of the twenty numbers
metric        mean and contact displacement in pixels
evaluate      how good a submission is; report
"""

from __future__ import annotations

from internvideo.tasks.hand_prediction import evaluate
from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(
    name="hand-prediction",
    score=evaluate.score,
    evaluate_examples=("--predictions submission.json -d fho_hands_val.json",),
)
