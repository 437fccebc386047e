"""Language queries: when in an untrimmed video is what a sentence asks for.

queries      sentences and the parts of videos that they ask for; submission: answers as files
spans        between seconds and rows of features; losses, and the likeliest spans
evaluate     how well a model finds them: metrics, report
"""

from __future__ import annotations

from internvideo.tasks.language_queries import evaluate
from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(name="language-queries", open=evaluate.open_queries, score=evaluate.score)
