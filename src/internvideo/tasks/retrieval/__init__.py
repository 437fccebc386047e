"""Video-text retrieval: find the video of a sentence, and the sentence of a video.

headers, frames    from the frames of a video to its score with a text
losses, task       fine-tuning
captions           which captions are searched with
rerank             a closer look at the best candidates, by a matching head
evaluate, report   both, for a model and its annotated videos
"""

from __future__ import annotations

from internvideo.tasks.retrieval import evaluate, frames, task
from internvideo.tasks.task import Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="retrieval",
    objectives=(
        Objective(
            config=task.RetrievalConfig,
            models=(
                "internvideo-mm/retrieval",
                "internvideo-mm",
                "viclip",
                "openai-clip",
                frames.FRAME_RETRIEVER.id,
            ),
            build=task.build,
            measure=evaluate.measure,
        ),
    ),
    architectures=(frames.FRAME_RETRIEVER,),
    evaluate=evaluate.evaluate,
    evaluate_examples=(
        "viclip-nano --data world -n 200",
        "viclip-l14 -d MSRVTT_JSFUSION_test.csv --root videos --plot recall.png",
        "umt-b16-25m -d didemo/test_data.json --caption-subset paragraph --rerank 128 --strict",
    ),
)
