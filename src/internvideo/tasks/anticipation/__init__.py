"""Short-term object interaction anticipation of Ego4D: what is touched next, how, and when?

losses        of verb and time to contact
reading       annotations and answers of the challenge
metric        top-k average precision of boxes with noun, verb and time to contact
evaluate      how good a submission is; report
"""

from __future__ import annotations

from internvideo.tasks.anticipation import evaluate
from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(
    name="anticipation",
    score=evaluate.score,
    evaluate_examples=("--predictions submission.json -d fho_sta_val.json",),
)
