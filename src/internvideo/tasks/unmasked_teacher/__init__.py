"""Unmasked teacher: align a masked student with a frozen image CLIP, then train it with text.

task         first stage: alignment alone
multimodal   second stage, and fine-tuning for retrieval; losses: matching and hidden words
teaching     the teacher of both
"""

from __future__ import annotations

from internvideo.tasks.task import Objective, Task
from internvideo.tasks.unmasked_teacher import multimodal, task

__all__ = ["TASK"]

TASK = Task(
    name="unmasked-teacher",
    objectives=(
        Objective(
            config=task.UnmaskedTeacherPretrainingConfig,
            models=("unmasked-teacher/pretraining",),
            build=task.build,
        ),
        Objective(
            config=multimodal.UMTMultimodalPretrainingConfig,
            models=("unmasked-teacher/multimodal",),
            build=multimodal.build,
        ),
    ),
)
