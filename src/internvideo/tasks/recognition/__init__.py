"""Action recognition: fine-tune or probe a classifier, measure it, ask it what happens.

supervised, probe   what is trained
merge               from the logits of many views to one answer a video
evaluate, predict   accuracy on annotated videos; the actions in a user's videos
"""

from __future__ import annotations

from internvideo.tasks import frozen_features
from internvideo.tasks.recognition import evaluate, predict, probe, supervised
from internvideo.tasks.task import PLOT, Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="recognition",
    aliases=("classifier", "actions"),
    verb="actions",
    objectives=(
        Objective(
            config=supervised.SupervisedConfig,
            models=("videomae/classifier", "unmasked-teacher/classifier", "uniformerv2/classifier"),
            build=supervised.build,
            labelled=True,
            measure=evaluate.measure,
        ),
        Objective(
            config=probe.ProbeConfig,
            models=("videomae/probe", "external/probe"),
            build=probe.build,
            labelled=True,
            clips=frozen_features.cached_clips,
            measure=evaluate.measure,
        ),
    ),
    evaluate=evaluate.evaluate,
    evaluate_examples=(
        "k400_videomae-b --checkpoint runs/k400_videomae-b --out results/",
        "runs/mine/model --data test.csv --views center",
        "videomae-b16-k400 -d val.csv --root videos/ --json --strict",
    ),
    predict=predict.predict,
    predict_examples=(
        "clip.mp4 --model videomae-b16-k400",
        "clips/ -m runs/mine/model --json > answers.jsonl",
        "clip.mp4 -m runs/ucf101_videomae-b_edl/best --open-set",
        "match.mp4 -m videomae-b16-k400 --stream --window 4 --stride 2",
    ),
    default_model="videomae-nano",
    files=(PLOT,),
)
