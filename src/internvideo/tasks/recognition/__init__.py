"""Action recognition: fine-tune or probe a classifier, measure it, ask it what happens.

supervised, probe   what is trained; features: what a probe sees of its clips
merge               from the logits of many views to one answer a video
evaluate, predict   accuracy on annotated videos; the actions in a user's videos
"""

from __future__ import annotations

from internvideo.tasks.recognition.evaluate import evaluate, measure
from internvideo.tasks.recognition.features import cached_clips
from internvideo.tasks.recognition.predict import predict
from internvideo.tasks.recognition.probe import ProbeConfig, build_probe
from internvideo.tasks.recognition.supervised import (
    SupervisedConfig,
    build_supervised,
)
from internvideo.tasks.task import PLOT, Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="recognition",
    aliases=("classifier", "actions"),
    objectives=(
        Objective(
            config=SupervisedConfig,
            models=(
                "videomae/classifier",
                "unmasked-teacher/classifier",
                "uniformerv2/classifier",
            ),
            build=build_supervised,
            labelled=True,
            measure=measure,
        ),
        Objective(
            config=ProbeConfig,
            models=("videomae/probe",),
            build=build_probe,
            labelled=True,
            clips=cached_clips,
            measure=measure,
        ),
    ),
    evaluate=evaluate,
    evaluate_examples=(
        "k400_videomae-b --checkpoint runs/k400_videomae-b --out results/",
        "runs/mine/model --data test.csv --views center",
        "videomae-b16-k400 -d val.csv --root videos/ --json --strict",
    ),
    predict=predict,
    predict_examples=(
        "clip.mp4 --model videomae-b16-k400",
        "clips/ -m runs/mine/model --json > answers.jsonl",
        "match.mp4 -m videomae-b16-k400 --stream --window 4 --stride 2",
    ),
    default_model="videomae-nano",
    files=(PLOT,),
)
