"""Open-set recognition: known classes, and whether a video shows one of them at all.

losses, debias      what classifiers are trained by; task: their training
metrics             unknown against known, open macro-F1, calibration
judging             how models judge annotated videos, and thresholds from training videos
evaluate, report    how well; known videos against unknown ones

What a user asks of single videos is `predict actions --open-set`, in the room of recognition.
"""

from __future__ import annotations

from internvideo.tasks.open_set import evaluate, task
from internvideo.tasks.task import Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="open-set",
    objectives=(
        Objective(
            config=task.OpenSetConfig,
            models=("open-set/classifier",),
            build=task.build,
            labelled=True,
            measure=evaluate.measure,
            calibrate=evaluate.calibrate,
        ),
    ),
    open=evaluate.open_known,
    evaluate=evaluate.evaluate,
    evaluate_examples=(
        "runs/ucf101_videomae-b_edl/best -d testlist01.txt --root ucf101/ --unknown hmdb51/splits "
        "--unknown-root hmdb51/videos --unknown-split test1",
        "runs/nano/model --data world --unknown world --plot open-set.png",
        "videomae-b16-k400 -d val.csv --unknown others.csv --training train.csv",
    ),
)
