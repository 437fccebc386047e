"""Language queries: when in an untrimmed video is what a sentence asks for."""

from __future__ import annotations

from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(name="language-queries")
