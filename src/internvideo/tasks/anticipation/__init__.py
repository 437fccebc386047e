"""Short-term object interaction anticipation of Ego4D: what is touched next, how, and when?

clips         frames up to the one with the boxes, and boxes in them
task, losses  of verb and time to contact
metric        top-k average precision of boxes with noun, verb and time to contact
finding       a model as it is asked
evaluate      how good a model or a submission is; report
predict       in a user's videos
"""

from __future__ import annotations

from internvideo.tasks.anticipation import evaluate, predict, task
from internvideo.tasks.task import NO_CLASSES, PLOT, Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="anticipation",
    verb="contacts",
    objectives=(
        Objective(
            config=task.AnticipationConfig,
            models=("videomae/anticipation",),
            build=task.build,
            clips=task.annotated_frames,
            measure=evaluate.measure,
        ),
    ),
    open=evaluate.open_frames,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    without=NO_CLASSES,
    evaluate_examples=(
        "runs/sta/best -d fho_sta_val.json --root videos/ --boxes object_detections.json",
        "--predictions submission.json -d fho_sta_val.json",
    ),
    predict=predict.predict,
    predict_examples=("cooking.mp4 --boxes boxes.json -m runs/sta/best --plot next.png",),
    files=(PLOT,),
)
