"""Video-text retrieval: find the video of a sentence, and the sentence of a video.

captions   which captions are searched with
metrics    ranks of the true answers, without the matrix of all pairs
rerank     a closer look at the best candidates, by a matching head
evaluate, report   both, for a model and its annotated videos
"""

from __future__ import annotations

from internvideo.tasks.retrieval import evaluate
from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(
    name="retrieval",
    evaluate=evaluate.evaluate,
    evaluate_examples=(
        "viclip-nano --data world -n 200",
        "viclip-l14 -d MSRVTT_JSFUSION_test.csv --root videos --plot recall.png",
        "umt-b16-25m -d didemo/test_data.json --caption-subset paragraph --rerank 128 --strict",
    ),
)
