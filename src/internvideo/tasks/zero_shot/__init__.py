"""Zero-shot recognition: classes that a model knows from words alone.

prompting    from class names to sentences
classifier   from the cosines of a video with sentences to the score of a class
evaluate, predict, report
"""

from __future__ import annotations

from internvideo.tasks.task import PLOT, Task
from internvideo.tasks.zero_shot import evaluate, predict

__all__ = ["TASK"]

TASK = Task(
    name="zero-shot",
    open=evaluate.open_labelled,
    evaluate=evaluate.evaluate,
    evaluate_examples=(
        "viclip-l14 --data my-videos/",
        "viclip-l14 -d val.csv -l kinetics-400/alphabetical -o results/",
        "my-model -d list.csv -l labels_zh.txt -t templates_zh.txt",
        "viclip-nano --data world",
    ),
    predict=predict.predict,
    predict_examples=(
        'clip.mp4 -l "something moves left" -l "something moves right"',
        "clip.mp4 -m viclip-l14 -l archery -l juggling --templates action16",
    ),
    default_model="auto",
    files=(PLOT,),
)
