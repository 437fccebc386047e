"""Temporal action localisation: when which action happens in an untrimmed video."""

from __future__ import annotations

from internvideo.tasks.task import Task

__all__ = ["TASK"]

TASK = Task(name="temporal-localization")
