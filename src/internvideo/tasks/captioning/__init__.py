"""Captioning: sentences about videos, and how near they are to the true ones.

captions   the answer: sentences, each for a stretch of a video
predict    how a model writes them; evaluate, report, cider: how good they are
"""

from __future__ import annotations

from internvideo.tasks.captioning import evaluate, predict
from internvideo.tasks.task import AnswerFile, Task

__all__ = ["TASK"]

TASK = Task(
    name="captioning",
    open=evaluate.open_captioned,
    evaluate=evaluate.evaluate,
    evaluate_examples=(
        "mm-nano --data world",
        "runs/mine/model -d MSRVTT_data.json --root videos --split test",
    ),
    predict=predict.predict,
    predict_examples=(
        "clip.mp4",
        "clips/ --strategy beam --num-beams 5 --json > captions.jsonl",
        "film.mp4 --every 2 --srt film.srt",
    ),
    default_model=predict.DEFAULT_CAPTIONER,
    files=(
        AnswerFile(
            "srt",
            "Write subtitles here; for several videos, into this folder.",
            ".srt",
            lambda answer, path: path.write_text(answer.to_srt(), encoding="utf-8"),
        ),
    ),
)
