"""From a recipe to its task with the model; the data side is `recipe.inputs`."""

from __future__ import annotations

from torch import nn

from internvideo.models.layers import checkpoint_blocks
from internvideo.recipe.inputs import build_augmentation, build_preprocessing
from internvideo.recipe.schema import Recipe
from internvideo.tasks.parts import Parts
from internvideo.tasks.registry import all_architectures, find_objective
from internvideo.train.task import TrainableTask

__all__ = ["build_task"]


def build_task(recipe: Recipe, *, with_weights: bool = True) -> TrainableTask[nn.Module]:
    """Return the task with its model, started from `recipe.init` where that is given.

    Args:
        recipe: what to build.
        with_weights: False reads no file, neither `init` nor a teacher: for a task whose weights
            come from elsewhere, and which does not train.

    Raises:
        ConfigError: the model configuration does not fit the task's model class.
        CheckpointError: `init` cannot be read, or its encoder has another shape.
    """
    objective = find_objective(recipe.task)
    parts = Parts(
        task=objective.kind,
        models=objective.models,
        architectures=all_architectures(),
        model=recipe.model,
        preprocessing=build_preprocessing(recipe),
        augmentation=build_augmentation(recipe),
        init=recipe.init if with_weights else None,
        init_labels=recipe.init_labels if with_weights else None,
        with_weights=with_weights,
    )
    task = objective.build(recipe.task, parts)
    if recipe.runtime.activation_checkpointing:
        checkpoint_blocks(task.model)  # type: ignore[arg-type]
    return task
