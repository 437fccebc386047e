"""Video-text retrieval: find the video of a sentence, and the sentence of a video."""

from __future__ import annotations

from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(name="retrieval")
