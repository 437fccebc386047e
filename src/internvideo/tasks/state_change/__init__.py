"""State change object detection: where in a key frame is the object that changes its state?

pictures      key frames, resized and padded
losses        which query stands for which true box, and the losses; denoising: noisy queries
finding       a detector as it is asked: the surest boxes of a picture
metric        average precision by the rules of COCO
task          training; evaluate: how well, report; predict: in a user's videos
"""

from __future__ import annotations

from internvideo.tasks.state_change import evaluate, predict, task
from internvideo.tasks.task import Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="state-change",
    objectives=(
        Objective(
            config=task.StateChangeConfig,
            models=("dino/detector",),
            build=task.build,
            clips=task.annotated_pictures,
            measure=evaluate.measure,
        ),
    ),
    open=evaluate.open_pictures,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    evaluate_examples=(
        "dino-swin-l-ego4d-scod -d baseline_annotations/val.json --root data/scod/frames",
        "--predictions boxes.json -d baseline_annotations/val.json",
    ),
    predict=predict.predict,
    predict_examples=("kitchen.mp4 --at 3.2 -m dino-swin-l-ego4d-scod",),
)
