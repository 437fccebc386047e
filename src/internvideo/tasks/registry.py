"""All tasks. A new one is a room and a line here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from internvideo.errors import UnknownNameError, did_you_mean
from internvideo.tasks import (
    action_detection,
    anticipation,
    captioning,
    contrastive,
    hand_prediction,
    interaction,
    language_queries,
    masked,
    moment_queries,
    multiple_choice,
    navigation,
    open_set,
    question_answering,
    recognition,
    retrieval,
    state_change,
    temporal_localization,
    unmasked_teacher,
    zero_shot,
)
from internvideo.tasks.task import Objective, Task
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES

__all__ = ["TASKS", "all_architectures", "find_objective", "find_task", "objectives"]

TASKS: tuple[Task, ...] = (
    masked.TASK,
    contrastive.TASK,
    unmasked_teacher.TASK,
    recognition.TASK,
    zero_shot.TASK,
    multiple_choice.TASK,
    retrieval.TASK,
    captioning.TASK,
    question_answering.TASK,
    temporal_localization.TASK,
    language_queries.TASK,
    moment_queries.TASK,
    open_set.TASK,
    state_change.TASK,
    action_detection.TASK,
    hand_prediction.TASK,
    anticipation.TASK,
    navigation.TASK,
    interaction.interaction_task(recognition.evaluate.measure),
)


def find_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        UnknownNameError: no such task.
    """
    known = {spelling: task for task in TASKS for spelling in (task.name, *task.aliases, task.verb)}
    if name not in known:
        names = [task.name for task in TASKS]
        raise UnknownNameError(
            f"unknown task {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}"
        )
    return known[name]


def objectives() -> Iterator[Objective[Any]]:
    """Yield everything that can be trained."""
    for task in TASKS:
        yield from task.objectives


def find_objective(config: Any) -> Objective[Any]:
    """Return the objective that a `task:` section is the configuration of."""
    return next(each for each in objectives() if type(config) is each.config)


def all_architectures() -> tuple[Architecture, ...]:
    """Return the architectures of the zoo, and those that only a task's room has."""
    return (*ARCHITECTURES, *(each for task in TASKS for each in task.architectures))
