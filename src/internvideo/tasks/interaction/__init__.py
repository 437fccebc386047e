"""Interaction: two frozen encoders learn to look at each other's tokens (`models.interaction`).

towers   which encoders, as the recipe names them
task     what is trained: the modules between them, the heads and how their answers are weighed

The result is a classifier like any other: `evaluate recognition`, `predict recognition`.
"""

from __future__ import annotations

from internvideo.tasks.interaction import task
from internvideo.tasks.task import Measure, Objective, Task

__all__ = ["interaction_task"]


def interaction_task(measure: Measure) -> Task:
    """Return the task.

    Args:
        measure: how a classifier is measured, which another room knows.
    """
    return Task(
        name="interaction",
        objectives=(
            Objective(
                config=task.InteractionConfig,
                models=("internvideo",),
                build=task.build,
                describe=task.describe,
                labelled=True,
                clips=task.clips,
                measure=measure,
            ),
        ),
    )
