"""Future hand prediction of Ego4D: where will the hands be until they touch the object?

task, losses  of the twenty numbers
metric        mean and contact displacement in pixels
finding       a model as it is asked
evaluate      how good a model or a submission is; report
predict       in a user's videos
"""

from __future__ import annotations

from internvideo.tasks.hand_prediction import evaluate, predict, task
from internvideo.tasks.task import NO_CLASSES, PLOT, Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="hand-prediction",
    verb="hands",
    objectives=(
        Objective(
            config=task.HandPredictionConfig,
            models=("uniformer/classifier",),
            build=task.build,
            clips=task.annotated_clips,
            measure=evaluate.measure,
        ),
    ),
    open=evaluate.open_clips,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    without=NO_CLASSES,
    evaluate_examples=(
        "runs/hands/best -d fho_hands_val.json --root data/",
        "--predictions submission.json -d fho_hands_val.json",
    ),
    predict=predict.predict,
    predict_examples=("cooking.mp4 -m runs/hands/best --plot hands.png",),
    files=(PLOT,),
)
