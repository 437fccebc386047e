"""Multiple choice: which of some sentences belongs to a video."""

from __future__ import annotations

from internvideo.tasks.multiple_choice import evaluate
from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(
    name="multiple-choice",
    open=evaluate.open_choices,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    evaluate_examples=(
        "viclip-l14 -d msrvtt_mc_test.jsonl --root videos/all",
        "viclip-nano -d choices/multiple_choice.jsonl",
        "--predictions answers.json -d next-qa/val.csv",
    ),
)
